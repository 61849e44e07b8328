DELETE FROM {schema}.leases WHERE token = %(token)s
