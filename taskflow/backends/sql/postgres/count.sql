SELECT status, count(*), count(duration), coalesce(sum(duration), 0) FROM {schema}.tasks
WHERE namespace = %(namespace)s
GROUP BY status
