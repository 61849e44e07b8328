INSERT INTO {schema}.tasks ({columns}, namespace)
SELECT *, %(namespace)s FROM unnest({arrays}) AS saved ({columns})
ORDER BY task_id -- as commits lock them
ON CONFLICT (task_id) DO UPDATE SET {updates}
WHERE tasks.namespace = excluded.namespace
    AND (NOT tasks.durable OR (tasks.owner IS NULL AND tasks.status = excluded.status))
