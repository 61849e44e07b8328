{ownerless}
SELECT func_name, count(*) FROM ownerless JOIN {schema}.tasks USING (owner)
WHERE namespace = %(namespace)s AND func_name <> ALL(%(names)s) AND (durable OR owner = '')
GROUP BY func_name
