-- One if there is none: somebody has emptied that table.
WITH made AS (
    INSERT INTO {schema}.store (incarnation)
    SELECT md5(random()::text || clock_timestamp()::text) WHERE NOT EXISTS (SELECT FROM {schema}.store)
    RETURNING incarnation
)
SELECT incarnation FROM {schema}.store UNION ALL SELECT incarnation FROM made ORDER BY incarnation LIMIT 1
