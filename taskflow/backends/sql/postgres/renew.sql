UPDATE {schema}.leases SET beats = beats + 1 WHERE token = %(token)s AND beats > 0
RETURNING token
