-- A lease lasts until somebody ends it; its beats are compared, and no clock is asked.
CREATE TABLE beating (
    token TEXT NOT NULL PRIMARY KEY,
    namespace TEXT NOT NULL,
    beats INTEGER NOT NULL -- 0 once it was released
);
INSERT INTO beating (token, namespace, beats) SELECT token, 'default', 1 FROM leases;
DROP TABLE leases;
ALTER TABLE beating RENAME TO leases;
