-- Ids are unique in the whole file; a namespace has its own keys, owners and history.
ALTER TABLE tasks ADD COLUMN namespace TEXT NOT NULL DEFAULT 'default';

DROP INDEX tasks_owned;
DROP INDEX tasks_keys;
DROP INDEX tasks_listed;
DROP INDEX tasks_of_status;
DROP INDEX tasks_of_function;
DROP INDEX tasks_ended;

CREATE INDEX tasks_owned ON tasks (namespace, owner, created, task_id) WHERE owner IS NOT NULL;
CREATE UNIQUE INDEX tasks_keys ON tasks (namespace, func_name, held_key) WHERE held_key IS NOT NULL;
CREATE INDEX tasks_listed ON tasks (namespace, created, task_id);
CREATE INDEX tasks_of_status ON tasks (namespace, status, created, task_id, duration, owner)
    WHERE owner IS NULL;
CREATE INDEX tasks_of_function ON tasks (namespace, func_name, status, created, task_id) WHERE owner IS NULL;
CREATE INDEX tasks_ended ON tasks (namespace, ended) WHERE ended IS NOT NULL;

-- Where in the code the functions of the running instances are, by their registered names.
CREATE TABLE declared (
    namespace TEXT NOT NULL,
    func_name TEXT NOT NULL,
    code_function TEXT NOT NULL,
    expires REAL NOT NULL, -- seconds since 1970, by the clock of the host
    PRIMARY KEY (namespace, func_name, code_function)
) WITHOUT ROWID;
