SELECT status, count(*), count(duration), total(duration) FROM tasks
WHERE namespace = :namespace AND owner IS NULL GROUP BY status
UNION ALL
SELECT status, count(*), count(duration), total(duration) FROM tasks
WHERE namespace = :namespace AND owner IS NOT NULL GROUP BY status
