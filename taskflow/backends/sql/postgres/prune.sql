WITH pruned AS (
    DELETE FROM {schema}.tasks WHERE task_id IN (
        SELECT task_id FROM {schema}.tasks
        WHERE namespace = %(namespace)s AND ended < %(before)s
        ORDER BY ended
        LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED -- what another instance is deleting
    )
    RETURNING 1
)
SELECT count(*) FROM pruned
