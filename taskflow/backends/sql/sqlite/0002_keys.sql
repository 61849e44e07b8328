-- A key belongs to its function.
DROP INDEX tasks_keys;
CREATE UNIQUE INDEX tasks_keys ON tasks (func_name, held_key) WHERE held_key IS NOT NULL;
