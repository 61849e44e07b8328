-- What can be large comes last: a list does not read past it. And `seq`, which a VACUUM leaves as it is.
DROP INDEX tasks_owned;
DROP INDEX tasks_keys;
DROP INDEX tasks_listed;
DROP INDEX tasks_of_status;
DROP INDEX tasks_of_function;
DROP INDEX tasks_ended;
ALTER TABLE tasks RENAME TO tasks_before;

CREATE TABLE tasks (
    seq INTEGER PRIMARY KEY,
    task_id TEXT NOT NULL UNIQUE,
    namespace TEXT NOT NULL,
    func_name TEXT NOT NULL,
    status TEXT NOT NULL,
    created INTEGER NOT NULL, -- microseconds since 1970
    ended INTEGER,
    duration REAL, -- seconds
    owner TEXT, -- NULL if and only if it has ended
    durable INTEGER NOT NULL,
    held_key TEXT,
    encrypted INTEGER NOT NULL,
    labels TEXT NOT NULL, -- each as a JSON string, after a line feed
    search TEXT NOT NULL,
    body TEXT NOT NULL,
    details TEXT, -- what a list does not show; rows of earlier versions have it in their body
    payload BLOB
);
INSERT INTO tasks (
    task_id, namespace, func_name, status, created, ended, duration, owner, durable, held_key, encrypted,
    labels, search, body, details, payload
)
SELECT
    task_id, namespace, func_name, status, created, ended, duration, owner, durable, held_key, encrypted,
    labels, search, body, details, payload
FROM tasks_before ORDER BY rowid;
DROP TABLE tasks_before;

CREATE INDEX tasks_owned ON tasks (namespace, owner, created, task_id) WHERE owner IS NOT NULL;
CREATE UNIQUE INDEX tasks_keys ON tasks (namespace, func_name, held_key) WHERE held_key IS NOT NULL;
CREATE INDEX tasks_listed ON tasks (namespace, created, task_id);
CREATE INDEX tasks_of_status ON tasks (namespace, status, created, task_id, duration, owner)
    WHERE owner IS NULL;
CREATE INDEX tasks_of_function ON tasks (namespace, func_name, status, created, task_id) WHERE owner IS NULL;
CREATE INDEX tasks_ended ON tasks (namespace, ended) WHERE ended IS NOT NULL;
