SELECT token, beats FROM {schema}.leases WHERE namespace = %(namespace)s
