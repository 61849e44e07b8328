INSERT INTO {schema}.versions (version) VALUES (%s)
