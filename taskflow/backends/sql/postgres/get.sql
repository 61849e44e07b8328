SELECT {columns} FROM {schema}.tasks WHERE task_id = %(task_id)s AND namespace = %(namespace)s
