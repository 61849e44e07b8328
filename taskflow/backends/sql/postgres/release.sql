UPDATE {schema}.leases SET beats = 0 WHERE token = %(token)s
