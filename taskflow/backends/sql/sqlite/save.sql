INSERT INTO tasks ({columns}) VALUES ({values})
ON CONFLICT (task_id) DO UPDATE SET {updates}
WHERE tasks.namespace = excluded.namespace
    AND (NOT tasks.durable OR (tasks.owner IS NULL AND tasks.status = excluded.status))
