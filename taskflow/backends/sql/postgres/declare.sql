-- Gives, of the same names, the places that others have told.
WITH mine AS MATERIALIZED (
    SELECT * FROM unnest(%(names)s::text[], %(places)s::text[]) AS mine (name, place)
),
expired AS (
    DELETE FROM {schema}.declared WHERE (namespace, func_name, code_function) IN (
        SELECT namespace, func_name, code_function FROM {schema}.declared
        WHERE namespace = %(namespace)s AND expires <= clock_timestamp()
            AND (func_name, code_function) NOT IN (SELECT name, place FROM mine)
        FOR UPDATE SKIP LOCKED
    )
),
told AS (
    INSERT INTO {schema}.declared (namespace, func_name, code_function, expires)
    SELECT %(namespace)s, name, place, clock_timestamp() + make_interval(secs => %(seconds)s) FROM mine
    ORDER BY name, place -- as others lock them
    ON CONFLICT (namespace, func_name, code_function) DO UPDATE SET expires = excluded.expires
)
SELECT func_name, code_function FROM mine JOIN {schema}.declared ON func_name = name COLLATE "C"
WHERE namespace = %(namespace)s AND code_function <> place AND expires > clock_timestamp()
ORDER BY func_name, code_function
