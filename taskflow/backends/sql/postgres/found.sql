-- Not to_regclass(): it may not see a table that another instance has just made.
SELECT current_setting('server_encoding'), coalesce(array_agg(tablename::text), '{{}}')
FROM pg_tables
WHERE schemaname = %s AND tablename IN ('versions', 'tasks', 'leases', 'declared', 'store')
