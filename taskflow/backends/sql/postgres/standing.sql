-- The stored rows with the ids of some changes, and those that have their keys.
SELECT task_id, owner, status, held_key FROM {schema}.tasks WHERE task_id = ANY(%(ids)s)
UNION ALL
SELECT task_id, owner, status, held_key FROM {schema}.tasks WHERE durable AND held_key = ANY(%(keys)s)
