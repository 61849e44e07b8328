-- What a list does not show. Rows of earlier versions have it in their body.
ALTER TABLE tasks ADD COLUMN details TEXT;
