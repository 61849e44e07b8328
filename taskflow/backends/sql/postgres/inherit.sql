UPDATE {schema}.tasks SET owner = %(token)s WHERE task_id IN (
    SELECT task_id FROM {schema}.tasks
    WHERE namespace = %(namespace)s AND owner = %(previous)s
    ORDER BY task_id -- as commits lock them
    LIMIT %(limit)s
    FOR NO KEY UPDATE
)
RETURNING task_id
