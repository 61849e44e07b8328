-- The stored rows with the ids of some changes, and those that have their keys. An id is unique in the whole
-- schema: a row of another namespace has no status here, so that it is not taken for one of ours.
SELECT task_id, owner, CASE WHEN namespace = %(namespace)s THEN status ELSE '' END, '', NULL
FROM {schema}.tasks WHERE task_id = ANY(%(ids)s)
UNION ALL
SELECT task_id, owner, status, func_name, held_key
FROM unnest(%(names)s::text[], %(keys)s::text[]) AS wanted (name, key) JOIN {schema}.tasks
    ON ARRAY[namespace, func_name, held_key] = ARRAY[%(namespace)s, name, key] COLLATE "C"
WHERE durable AND held_key IS NOT NULL
