UPDATE tasks SET {updates}, held_key = CASE WHEN ? IS NOT NULL THEN held_key END
WHERE task_id = ? AND owner = ? AND status = ? AND namespace = ?
