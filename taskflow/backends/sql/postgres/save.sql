INSERT INTO {schema}.tasks ({columns})
SELECT * FROM unnest({arrays}) AS saved ({columns})
ORDER BY task_id -- as commits lock them
ON CONFLICT (task_id) DO UPDATE SET {updates}
WHERE NOT tasks.durable OR (tasks.owner IS NULL AND tasks.status = excluded.status)
