WITH forgotten AS (
    DELETE FROM {schema}.leases WHERE token IN (
        SELECT token FROM {schema}.leases
        WHERE namespace = %(namespace)s AND beats = 0 AND token <> %(token)s AND NOT EXISTS (
            SELECT FROM {schema}.tasks WHERE tasks.namespace = %(namespace)s AND owner = token
        )
        FOR UPDATE OF leases SKIP LOCKED
    )
)
INSERT INTO {schema}.leases (token, namespace, beats) VALUES (%(token)s, %(namespace)s, 1)
ON CONFLICT (token) DO UPDATE SET beats = 1
