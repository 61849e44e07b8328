-- CREATE SCHEMA IF NOT EXISTS would need the right to make one even where there is one.
DO $$
BEGIN
    IF to_regnamespace('{schema}') IS NULL THEN
        CREATE SCHEMA {schema};
    END IF;
END
$$;

CREATE TABLE {schema}.versions (
    version integer PRIMARY KEY -- of each script that has run
);

-- Names and ids compare by code point, as Python compares them: COLLATE "C".
CREATE TABLE {schema}.tasks (
    task_id text COLLATE "C" PRIMARY KEY,
    func_name text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    created bigint NOT NULL, -- microseconds since 1970
    ended bigint,
    duration double precision, -- seconds
    owner text COLLATE "C", -- NULL if and only if it has ended
    durable boolean NOT NULL,
    held_key text COLLATE "C",
    labels jsonb NOT NULL,
    search text NOT NULL,
    encrypted boolean NOT NULL,
    payload bytea,
    body text NOT NULL, -- JSON that may hold what jsonb refuses: NUL and lone surrogates
    -- Who enqueues may choose a key, and a B-tree refuses those above 2,704 bytes: hashes do not.
    CONSTRAINT tasks_keys EXCLUDE USING hash (held_key WITH =) WHERE (durable AND held_key IS NOT NULL)
);

-- Pages of the listing: of all, of a state, of a function in a state. The second one also counts.
CREATE INDEX tasks_listed ON {schema}.tasks (created, task_id);
CREATE INDEX tasks_of_status ON {schema}.tasks (status, created, task_id) INCLUDE (duration);
CREATE INDEX tasks_of_function ON {schema}.tasks (func_name, status, created, task_id);

-- Small, whatever the history: finished rows have no owner.
CREATE INDEX tasks_owned ON {schema}.tasks (owner, created, task_id) WHERE owner IS NOT NULL;

CREATE INDEX tasks_ended ON {schema}.tasks (ended) WHERE ended IS NOT NULL;

CREATE TABLE {schema}.leases (
    token text COLLATE "C" PRIMARY KEY,
    expires timestamptz NOT NULL -- by the clock of the server
);
