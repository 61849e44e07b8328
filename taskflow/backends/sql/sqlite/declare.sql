INSERT INTO declared (namespace, func_name, code_function, expires) VALUES (?, ?, ?, ?)
ON CONFLICT (namespace, func_name, code_function) DO UPDATE SET expires = excluded.expires
