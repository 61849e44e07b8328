SELECT status, count(*), count(duration), coalesce(sum(duration), 0) FROM {schema}.tasks GROUP BY status
