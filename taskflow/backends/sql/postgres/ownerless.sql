-- The owners of unfinished rows that have no valid lease. The owners are found by stepping through the
-- index from each owner to the next one, so that the number of rows does not matter.
WITH RECURSIVE owners (owner) AS (
    SELECT min(owner) FROM {schema}.tasks WHERE namespace = %(namespace)s AND owner IS NOT NULL
    UNION ALL
    SELECT (SELECT min(owner) FROM {schema}.tasks WHERE namespace = %(namespace)s AND owner > owners.owner)
    FROM owners WHERE owner IS NOT NULL
),
ownerless AS (
    SELECT owner FROM owners
    WHERE owner IS NOT NULL AND NOT EXISTS (
        SELECT FROM {schema}.leases WHERE token = owners.owner AND beats > 0
    )
)
