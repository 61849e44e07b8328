DELETE FROM tasks WHERE rowid IN (
    SELECT rowid FROM tasks WHERE ended < :before ORDER BY ended LIMIT :limit
)
