CREATE TABLE tasks (
    task_id TEXT NOT NULL PRIMARY KEY,
    func_name TEXT NOT NULL,
    status TEXT NOT NULL,
    created INTEGER NOT NULL, -- microseconds since 1970
    ended INTEGER,
    duration REAL, -- seconds
    owner TEXT, -- NULL if and only if it has ended
    durable INTEGER NOT NULL,
    held_key TEXT,
    labels TEXT NOT NULL, -- each as a JSON string, after a line feed
    search TEXT NOT NULL,
    encrypted INTEGER NOT NULL,
    payload BLOB,
    body TEXT NOT NULL
);

-- A task is written three times and more before it ends. What is asked of its history alone is indexed
-- once it has ended. The number of those that have not is moderate: one index serves every question.
CREATE INDEX tasks_owned ON tasks (owner, created, task_id) WHERE owner IS NOT NULL;
CREATE UNIQUE INDEX tasks_keys ON tasks (held_key) WHERE held_key IS NOT NULL;

-- Pages of the listing: of all, of a state, of a function in a state. The second one also has all that
-- is needed to count, so that the table is not read for it.
CREATE INDEX tasks_listed ON tasks (created, task_id);
CREATE INDEX tasks_of_status ON tasks (status, created, task_id, duration, owner) WHERE owner IS NULL;
CREATE INDEX tasks_of_function ON tasks (func_name, status, created, task_id) WHERE owner IS NULL;

CREATE INDEX tasks_ended ON tasks (ended) WHERE ended IS NOT NULL;

CREATE TABLE leases (
    token TEXT NOT NULL PRIMARY KEY,
    expires REAL NOT NULL -- seconds since 1970, by the clock of the host
);
