{ownerless}
SELECT found.* FROM ownerless, LATERAL (
    SELECT {columns} FROM {schema}.tasks
    WHERE namespace = %(namespace)s AND owner = ownerless.owner
        AND (created, task_id) > (%(created)s, %(task_id)s)
        AND (func_name = ANY(%(names)s) OR NOT (durable OR owner = ''))
    ORDER BY created, task_id
    LIMIT %(limit)s
) AS found
ORDER BY created, task_id
LIMIT %(limit)s
