UPDATE tasks SET owner = :token WHERE rowid IN (
    SELECT rowid FROM tasks WHERE namespace = :namespace AND owner = :previous LIMIT :limit
)
