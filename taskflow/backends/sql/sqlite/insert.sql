INSERT INTO tasks ({columns}) VALUES ({values}) ON CONFLICT DO NOTHING
