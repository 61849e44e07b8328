UPDATE {schema}.leases
SET expires = clock_timestamp() + make_interval(secs => %(seconds)s)
WHERE token = %(token)s AND expires > clock_timestamp()
RETURNING token
