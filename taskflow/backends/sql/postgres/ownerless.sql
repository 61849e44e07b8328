-- The owners of unfinished rows: the index is asked for the next one after each, so that the number of
-- rows does not matter. Of those, the ones that have no lease that lasts.
WITH RECURSIVE owners (owner) AS (
    SELECT min(owner) FROM {schema}.tasks WHERE owner IS NOT NULL
    UNION ALL
    SELECT (SELECT min(owner) FROM {schema}.tasks WHERE owner > owners.owner)
    FROM owners WHERE owner IS NOT NULL
),
ownerless AS (
    SELECT owner FROM owners
    WHERE owner IS NOT NULL AND NOT EXISTS (
        SELECT FROM {schema}.leases WHERE token = owners.owner AND expires > clock_timestamp()
    )
)
