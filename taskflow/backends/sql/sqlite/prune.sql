DELETE FROM tasks WHERE rowid IN (
    SELECT rowid FROM tasks
    WHERE namespace = :namespace AND ended < :before ORDER BY ended LIMIT :limit
)
