SELECT status, count(*), count(duration), total(duration) FROM tasks WHERE owner IS NULL GROUP BY status
UNION ALL
SELECT status, count(*), count(duration), total(duration) FROM tasks WHERE owner IS NOT NULL GROUP BY status
