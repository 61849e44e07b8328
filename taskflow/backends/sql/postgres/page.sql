SELECT {columns} FROM {schema}.tasks
WHERE {conditions}
ORDER BY created DESC, task_id DESC
LIMIT %(limit)s
