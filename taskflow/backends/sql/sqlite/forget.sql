DELETE FROM leases WHERE namespace = :namespace AND beats = 0 AND NOT EXISTS (
    SELECT 1 FROM tasks WHERE tasks.namespace = leases.namespace AND owner = token
)
