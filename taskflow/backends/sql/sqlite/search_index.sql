-- The groups of three characters in what is searched, and the rows that have them. The text itself is not kept.
CREATE VIRTUAL TABLE tasks_search
USING fts5(search, content = '', detail = none, tokenize = 'trigram case_sensitive 1');

CREATE TRIGGER tasks_search_added AFTER INSERT ON tasks BEGIN
    INSERT INTO tasks_search (rowid, search) VALUES (new.seq, new.search);
END;

CREATE TRIGGER tasks_search_changed AFTER UPDATE OF search ON tasks WHEN old.search IS NOT new.search BEGIN
    INSERT INTO tasks_search (tasks_search, rowid, search) VALUES ('delete', old.seq, old.search);
    INSERT INTO tasks_search (rowid, search) VALUES (new.seq, new.search);
END;

CREATE TRIGGER tasks_search_deleted AFTER DELETE ON tasks BEGIN
    INSERT INTO tasks_search (tasks_search, rowid, search) VALUES ('delete', old.seq, old.search);
END;

INSERT INTO tasks_search (rowid, search) SELECT seq, search FROM tasks;
