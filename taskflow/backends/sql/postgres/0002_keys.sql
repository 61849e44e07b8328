-- A key belongs to its function. As one value: an index of hashes has one column.
ALTER TABLE {schema}.tasks
    DROP CONSTRAINT tasks_keys,
    ADD CONSTRAINT tasks_keys EXCLUDE USING hash ((ARRAY[func_name, held_key]) WITH =)
        WHERE (durable AND held_key IS NOT NULL);
