INSERT INTO leases (token, expires) VALUES (:token, :expires)
ON CONFLICT (token) DO UPDATE SET expires = excluded.expires
