-- Ids are unique in the whole schema; a namespace has its own keys, owners and history.
ALTER TABLE {schema}.tasks ADD COLUMN namespace text COLLATE "C" NOT NULL DEFAULT 'default';

ALTER TABLE {schema}.tasks
    DROP CONSTRAINT tasks_keys,
    ADD CONSTRAINT tasks_keys EXCLUDE USING hash ((ARRAY[namespace, func_name, held_key]) WITH =)
        WHERE (durable AND held_key IS NOT NULL);

DROP INDEX {schema}.tasks_listed;
DROP INDEX {schema}.tasks_of_status;
DROP INDEX {schema}.tasks_of_function;
DROP INDEX {schema}.tasks_owned;
DROP INDEX {schema}.tasks_ended;

CREATE INDEX tasks_listed ON {schema}.tasks (namespace, created, task_id);
CREATE INDEX tasks_of_status ON {schema}.tasks (namespace, status, created, task_id) INCLUDE (duration);
CREATE INDEX tasks_of_function ON {schema}.tasks (namespace, func_name, status, created, task_id);
CREATE INDEX tasks_owned ON {schema}.tasks (namespace, owner, created, task_id) WHERE owner IS NOT NULL;
CREATE INDEX tasks_ended ON {schema}.tasks (namespace, ended) WHERE ended IS NOT NULL;

-- Where in the code the functions of the running instances are, by their registered names.
CREATE TABLE {schema}.declared (
    namespace text COLLATE "C" NOT NULL,
    func_name text COLLATE "C" NOT NULL,
    code_function text COLLATE "C" NOT NULL,
    expires timestamptz NOT NULL, -- by the clock of the server
    PRIMARY KEY (namespace, func_name, code_function)
);
