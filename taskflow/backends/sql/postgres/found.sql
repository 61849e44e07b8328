-- Not to_regclass(): what it did not find before another instance made it, it may not find after.
SELECT current_setting('server_encoding'), coalesce(array_agg(tablename::text), '{{}}')
FROM pg_tables
WHERE schemaname = %s AND tablename IN ('versions', 'tasks', 'leases')
