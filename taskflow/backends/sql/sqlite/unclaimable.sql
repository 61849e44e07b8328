SELECT func_name, count(*) FROM tasks
WHERE namespace = :namespace AND owner IN (SELECT value FROM json_each(:owners))
    AND (durable OR owner = '')
    AND func_name NOT IN (SELECT value FROM json_each(:names))
GROUP BY func_name
