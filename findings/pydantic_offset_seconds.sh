#!/bin/sh
# pydantic moves a datetime in time when its offset from UTC has seconds: JSON drops them.
#
# Packages: pydantic 2.14.4 (pydantic-core 2.50.5), tzdata 2025.2 for zoneinfo
# Expected: dump_json() and validate_json() give back the same instant: Python's isoformat() and
#     fromisoformat() do, with "-00:44:30".
# Seen: the offset is cut to minutes while the local time stays, so the instant moves (30 seconds for
#     Monrovia before 1972, 28 for Berlin before 1893), in silence. The other way round, what
#     isoformat() writes for such a time is refused by pydantic.
# Matters: births and old records in tasks' arguments: the value that the task gets is not equal to
#     the one that was sent, so a look-up by it, or a key made of it, finds nothing.
#
# Output:
#     pydantic 2.14.4 pydantic-core 2.50.5
#     1971-06-01T12:00:00-00:44:30: JSON "1971-06-01T12:00:00-00:44", moved by -30 s; isoformat() is refused
#     1930-01-01T12:00:00+05:30: JSON "1930-01-01T12:00:00+05:30", moved by 0 s; isoformat() is read
#     1890-06-01T12:00:00+00:53:28: JSON "1890-06-01T12:00:00+00:53", moved by 28 s; isoformat() is refused
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pydantic==2.14.4 tzdata==2025.2
cd "$work"
# An empty PYTHONTZPATH: the pinned tzdata, not the machine's.
PYTHONTZPATH='' venv/bin/python - <<'END'
import sys
from datetime import datetime
from zoneinfo import ZoneInfo

import pydantic
import pydantic_core

adapter = pydantic.TypeAdapter(datetime)
print("pydantic", pydantic.VERSION, "pydantic-core", pydantic_core.__version__)


def moved_by(moment):
    """Seconds by which the round trip through pydantic's JSON moves `moment`."""
    text = adapter.dump_json(moment)
    seconds = (adapter.validate_json(text) - moment).total_seconds()
    assert datetime.fromisoformat(moment.isoformat()) == moment
    try:
        adapter.validate_python(moment.isoformat())
        reads = "is read"
    except pydantic.ValidationError:
        reads = "is refused"
    print(f"{moment.isoformat()}: JSON {text.decode()}, moved by {seconds:g} s; isoformat() {reads}")
    return seconds, reads


seen = [
    moved_by(datetime(1971, 6, 1, 12, tzinfo=ZoneInfo("Africa/Monrovia"))),
    moved_by(datetime(1930, 1, 1, 12, tzinfo=ZoneInfo("Asia/Kolkata"))),
    moved_by(datetime(1890, 6, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))),
]
if [bool(seconds) for seconds, _ in seen] != [True, False, True] or seen[0] != (-30, "is refused"):
    sys.exit("CHANGED: expected the times whose offset has seconds to move, and to be refused")
END
