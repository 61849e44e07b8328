-- A transaction of one statement; gives the ids of what it has written.
WITH change AS MATERIALIZED (
    SELECT * FROM unnest({arrays}, %(expected_owner)b::text[], %(expected_status)b::text[])
        WITH ORDINALITY AS change ({columns}, expected_owner, expected_status, place)
),
-- In the same order everywhere: instances that change the same rows wait for each other in turn.
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
        AND tasks.owner IS NOT DISTINCT FROM locked.expected_owner
        AND tasks.status = locked.expected_status
    RETURNING tasks.task_id
),
inserted AS (
    INSERT INTO {schema}.tasks ({columns})
    SELECT {columns} FROM change
    -- Counting makes it wait for the changes: they may give up a key that is wanted here.
    WHERE expected_status IS NULL AND (SELECT count(*) FROM changed) >= 0
    -- The first of a key gets it; retries have none, and the same ids on every instance.
    ORDER BY held_key, CASE WHEN held_key IS NULL THEN task_id END, place
    ON CONFLICT DO NOTHING
    RETURNING task_id
)
SELECT task_id FROM changed UNION ALL SELECT task_id FROM inserted
