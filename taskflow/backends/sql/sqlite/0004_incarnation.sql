-- Who finds another one knows that the file was replaced.
CREATE TABLE store (incarnation TEXT NOT NULL);
INSERT INTO store VALUES (lower(hex(randomblob(16))));
