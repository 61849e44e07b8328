-- One statement, which is a transaction; returns the ids of the rows that it has written.
WITH change AS MATERIALIZED (
    SELECT * FROM unnest({arrays}, %(expected_owner)b::text[], %(expected_status)b::text[])
        WITH ORDINALITY AS change ({columns}, expected_owner, expected_status, place)
),
-- Sorted, so that instances that lock the same rows do not deadlock.
locked AS MATERIALIZED (
    SELECT change.* FROM {schema}.tasks JOIN change USING (task_id)
    WHERE expected_status IS NOT NULL
    ORDER BY task_id
    FOR NO KEY UPDATE OF tasks
),
changed AS (
    UPDATE {schema}.tasks
    SET {updates}, held_key = CASE WHEN locked.held_key IS NOT NULL THEN tasks.held_key END
    FROM locked
    WHERE tasks.task_id = locked.task_id
        -- Not `=`: the planner would look for other ways to the rows than by their ids, and without
        -- statistics it would read the whole namespace.
        AND tasks.namespace IS NOT DISTINCT FROM %(namespace)s
        AND tasks.owner IS NOT DISTINCT FROM locked.expected_owner
        AND tasks.status IS NOT DISTINCT FROM locked.expected_status
    RETURNING tasks.task_id
),
inserted AS (
    INSERT INTO {schema}.tasks ({columns}, namespace)
    SELECT {columns}, %(namespace)s FROM change
    -- The count makes this wait for the updates: they may free a key that is inserted here.
    WHERE expected_status IS NULL AND (SELECT count(*) FROM changed) >= 0
    -- Of several rows with one key, the first gets it. Retries have no key, but may have the same id.
    ORDER BY held_key, func_name, CASE WHEN held_key IS NULL THEN task_id END, place
    ON CONFLICT DO NOTHING
    RETURNING task_id
)
SELECT task_id FROM changed UNION ALL SELECT task_id FROM inserted
