-- Whether the search index is there, and the schema of the extension that it needs, if that is.
SELECT
    EXISTS (SELECT FROM pg_indexes WHERE schemaname = %s AND indexname = 'tasks_search'),
    (SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
        WHERE extname = 'pg_trgm')
