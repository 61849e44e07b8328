SELECT {columns} FROM {schema}.tasks
WHERE namespace = %(namespace)s AND {conditions}
ORDER BY created DESC, task_id DESC
LIMIT %(limit)s
