DELETE FROM {schema}.leases WHERE token = %(token)s AND beats = %(beats)s AND beats > 0
RETURNING token
