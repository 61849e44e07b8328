INSERT INTO leases (token, namespace, beats) VALUES (:token, :namespace, 1)
ON CONFLICT (token) DO UPDATE SET beats = 1
