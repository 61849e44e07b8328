SELECT {columns} FROM tasks
WHERE namespace = :namespace AND owner = {owner}
    AND (created, task_id) > (:created, :task_id)
    AND (NOT (durable OR owner = '') OR func_name IN (SELECT value FROM json_each(:names)))
