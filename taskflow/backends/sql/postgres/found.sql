SELECT
    current_setting('server_encoding'),
    to_regclass('{schema}.versions') IS NOT NULL,
    coalesce(to_regclass('{schema}.tasks'), to_regclass('{schema}.leases')) IS NOT NULL
