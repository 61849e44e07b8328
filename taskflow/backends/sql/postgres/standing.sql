-- The stored rows with the ids of some changes, and those that have their keys.
SELECT task_id, owner, status, func_name, held_key FROM {schema}.tasks WHERE task_id = ANY(%(ids)s)
UNION ALL
SELECT task_id, owner, status, func_name, tasks.held_key
FROM unnest(%(names)s::text[], %(keys)s::text[]) AS wanted (name, key) JOIN {schema}.tasks
    ON ARRAY[func_name, held_key] = ARRAY[wanted.name, wanted.key] COLLATE "C"
WHERE durable AND held_key IS NOT NULL
