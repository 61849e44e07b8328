WITH expired AS (
    DELETE FROM {schema}.leases WHERE token IN (
        SELECT token FROM {schema}.leases
        WHERE expires <= clock_timestamp() AND token <> %(token)s
        FOR UPDATE SKIP LOCKED
    )
),
inherited AS (
    UPDATE {schema}.tasks SET owner = %(token)s WHERE task_id IN (
        SELECT task_id FROM {schema}.tasks
        WHERE namespace = %(namespace)s AND owner = %(previous)s
        ORDER BY task_id -- as commits lock them
        FOR NO KEY UPDATE
    )
)
INSERT INTO {schema}.leases (token, expires)
VALUES (%(token)s, clock_timestamp() + make_interval(secs => %(seconds)s))
ON CONFLICT (token) DO UPDATE SET expires = excluded.expires
