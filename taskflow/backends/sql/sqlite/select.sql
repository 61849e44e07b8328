SELECT {columns} FROM {table} WHERE {conditions}
