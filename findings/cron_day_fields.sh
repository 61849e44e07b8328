#!/bin/sh
# "Each second day, on Mondays": cron libraries disagree on day-of-month against day-of-week.
#
# Packages: croniter 7.0.0, cronsim 2.8, APScheduler 3.11.3, crontab 1.0.5
# Expected: the rule of crontab(5): if both day fields are restricted, either of them suffices.
# Seen: "0 6 13 * FRI" is "the 13th and each Friday" for croniter and cronsim, but "Friday the 13th"
#     for APScheduler and crontab. "0 6 */2 * MON" splits them anew: croniter alone takes either
#     day; cronsim takes a field that begins with a star for no restriction, as Debian's cron does,
#     and wants both. "1-31/2" names the same days as "*/2", yet cronsim then takes either: two
#     spellings of one field, 18 runs against 3 in the same month.
# Matters: a schedule that is copied from a crontab to one of these runs 6 times too often or hardly
#     ever, and raises nothing.
#
# Output (runs in March 2027; its Mondays are the 1st, 8th, 15th, 22nd and 29th):
#     croniter 7.0.0, cronsim 2.8, APScheduler 3.11.3, crontab 1.0.5
#     0 6 13 * FRI
#         croniter      5 runs: 5 12 13 19 26
#         cronsim       5 runs: 5 12 13 19 26
#         APScheduler   0 runs: -
#         crontab       0 runs: -
#     0 6 */2 * MON
#         croniter     18 runs: 1 3 5 7 8 9 11 13 15 17 19 21 22 23 25 27 29 31
#         cronsim       3 runs: 1 15 29
#         APScheduler   3 runs: 1 15 29
#         crontab       3 runs: 1 15 29
#     0 6 1-31/2 * MON
#         croniter     18 runs: 1 3 5 7 8 9 11 13 15 17 19 21 22 23 25 27 29 31
#         cronsim      18 runs: 1 3 5 7 8 9 11 13 15 17 19 21 22 23 25 27 29 31
#         APScheduler   3 runs: 1 15 29
#         crontab       3 runs: 1 15 29
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    croniter==7.0.0 cronsim==2.8 APScheduler==3.11.3 crontab==1.0.5
cd "$work"
venv/bin/python -W ignore - <<'END'
import importlib.metadata
import sys
from datetime import UTC, datetime, timedelta

from apscheduler.triggers.cron import CronTrigger
from croniter import croniter
from cronsim import CronSim
from crontab import CronTab

LIBRARIES = {
    "croniter": lambda expression, now: croniter(expression, now).get_next(datetime),
    "cronsim": lambda expression, now: next(CronSim(expression, now)),
    "APScheduler": lambda expression, now: CronTrigger.from_crontab(
        expression, timezone=UTC
    ).get_next_fire_time(None, now + timedelta(seconds=1)),
    "crontab": lambda expression, now: CronTab(expression).next(now=now, return_datetime=True),
}


def days(library, expression):
    """The days of March 2027 on which `library` runs `expression`."""
    now, found = datetime(2027, 2, 28, 23, tzinfo=UTC), []
    while True:
        now = LIBRARIES[library](expression, now)
        if now >= datetime(2027, 4, 1, tzinfo=UTC):
            return found
        found.append(now.day)


fridays, mondays, odd = {5, 12, 19, 26}, {1, 8, 15, 22, 29}, set(range(1, 32, 2))
either, both = sorted(mondays | odd), sorted(mondays & odd)
expected = {
    "0 6 13 * FRI": [sorted(fridays | {13}), sorted(fridays | {13}), [], []],
    "0 6 */2 * MON": [either, both, both, both],
    "0 6 1-31/2 * MON": [either, either, both, both],
}
print(", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES))
seen = {}
for expression in expected:
    print(expression)
    seen[expression] = [days(library, expression) for library in LIBRARIES]
    for library, found in zip(LIBRARIES, seen[expression], strict=True):
        print(f"    {library:12} {len(found):2} runs: {' '.join(map(str, found)) or '-'}")
if seen != expected:
    sys.exit(f"CHANGED: expected {expected}")
END
