-- A lease lasts until somebody ends it; its beats are compared, and no clock is asked.
ALTER TABLE {schema}.leases
    DROP COLUMN expires,
    ADD COLUMN namespace text COLLATE "C" NOT NULL DEFAULT 'default',
    ADD COLUMN beats bigint NOT NULL DEFAULT 1; -- 0 once it was released
