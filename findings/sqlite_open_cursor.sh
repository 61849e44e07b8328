#!/bin/sh
# SQLite: one row read and the cursor kept, and the WAL grows without end: no transaction to be seen.
#
# Packages: apsw 3.54.1.0 (it has SQLite 3.54.1 in it)
# Expected: a connection that is not in a transaction does not hold the database: `in_transaction` is
#     False, autocommit is on. And a passive checkpoint that could not do its work says "busy".
# Seen: a SELECT of which not all rows were fetched (next(cursor), fetchone()) keeps its snapshot as
#     long as the cursor lives. The writer's checkpoints copy nothing past it, and the WAL cannot
#     start from its beginning again: it grows by all that is written, far over the size at which
#     SQLite checkpoints by itself (1000 pages, 4 MB). The passive checkpoint reports no error, only
#     two numbers that differ. Other SELECTs of that connection see old data too. Closing the cursor
#     ends it; the file keeps its size, which the next checkpoints reuse.
# Matters: "the newest task, if any" read with one fetchone() by a worker that keeps the cursor: disks
#     fill, reads become slow, and a status page that shares the connection stands still.
#
# Output:
#     apsw 3.54.1.0 SQLite 3.54.1
#     no reader: WAL 4.2 MB after 20 MB were written
#     one row fetched: in_transaction False
#     with the cursor: WAL 26.7, 50.6, 74.4 MB after each 20 MB
#     passive checkpoint: no error, 700 of 18057 pages copied
#     rows: 20100 for the reader, 80100 in the table
#     cursor closed: 18057 of 18057 pages copied; WAL 74.4 MB after 20 MB more
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check apsw==3.54.1.0
cd "$work"
venv/bin/python - <<'END'
import os
import sys

import apsw

writer = apsw.Connection("tasks.db")
writer.execute("PRAGMA journal_mode = WAL")
writer.execute("CREATE TABLE tasks (text)")
with writer:
    writer.executemany("INSERT INTO tasks VALUES (?)", [("first",)] * 100)


def write(rows):
    """Adds rows of 1 kB in transactions of 100; returns the size of the WAL, in megabytes."""
    for _ in range(rows // 100):
        with writer:
            writer.executemany("INSERT INTO tasks VALUES (?)", [("x" * 1000,)] * 100)
    return round(os.path.getsize("tasks.db-wal") / 1e6, 1)


print("apsw", apsw.apsw_version(), "SQLite", apsw.sqlite_lib_version())
before = write(20_000)
print(f"no reader: WAL {before} MB after 20 MB were written")
reader = apsw.Connection("tasks.db")
cursor = reader.execute("SELECT text FROM tasks")
next(cursor)
print("one row fetched: in_transaction", reader.in_transaction)
sizes = [write(20_000) for _ in range(3)]
print(f"with the cursor: WAL {', '.join(map(str, sizes))} MB after each 20 MB")
pages, copied = writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
print(f"passive checkpoint: no error, {copied} of {pages} pages copied")
stale = reader.execute("SELECT count(*) FROM tasks").get
print(f"rows: {stale} for the reader, {writer.execute('SELECT count(*) FROM tasks').get} in the table")
was_in_transaction = reader.in_transaction
cursor.close()
pages, copied = writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
after = write(20_000)
print(f"cursor closed: {copied} of {pages} pages copied; WAL {after} MB after 20 MB more")
if not (before < 10 and sizes[2] > 50 and not was_in_transaction and stale == 20_100 and after == sizes[2]):
    sys.exit("CHANGED: expected a WAL that grows with the cursor only, and in_transaction False")
END
