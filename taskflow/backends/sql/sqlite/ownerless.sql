-- The owners of unfinished rows that have no valid lease. The owners are found by stepping through the
-- index from each owner to the next one, so that the number of rows does not matter.
WITH RECURSIVE owners (owner) AS (
    SELECT min(owner) FROM tasks WHERE namespace = :namespace AND owner IS NOT NULL
    UNION ALL
    SELECT (SELECT min(owner) FROM tasks WHERE namespace = :namespace AND owner > owners.owner)
    FROM owners WHERE owner IS NOT NULL
)
SELECT owner FROM owners
WHERE owner IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM leases WHERE token = owner AND beats > 0)
