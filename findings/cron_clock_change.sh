#!/bin/sh
# Four cron libraries, one expression, the two days of the clock change: no two agree.
#
# Packages: croniter 7.0.0, cronsim 2.8, APScheduler 3.11.3, crontab 1.0.5
# Expected: "30 2 * * *" in Europe/Berlin runs once a day; where a library must bend the rule on the
#     day without 02:30, and on the day with two, it bends it as the others do.
# Seen (the times of day are each library's own result; 02:30+0100 in spring is no time that a clock
#     on the wall shows, as an instant it is 03:30+0200):
#     - spring: croniter and cronsim run it early, at 03:00; APScheduler and crontab an hour after
#       the last 02:30 that could be, at what the clock shows as 03:30.
#     - autumn: croniter and APScheduler run it twice, cronsim and crontab once.
#     - so "30 2-3 * * *" runs twice in spring by croniter and cronsim, but once by APScheduler,
#       where both of its times are the same instant.
#     - "0 */2 * * *" gets a run at 03:00 from croniter alone, and none at all between 01:00 and
#       04:00 from cronsim.
# Matters: moving a nightly job from one scheduler to another changes whether the bill is sent twice.
#
# Output:
#     croniter 7.0.0, cronsim 2.8, APScheduler 3.11.3, crontab 1.0.5
#     30 2 * * * spring
#         croniter     03:00+0200
#         cronsim      03:00+0200
#         APScheduler  02:30+0100
#         crontab      02:30+0100
#     30 2 * * * autumn
#         croniter     02:30+0200 02:30+0100
#         cronsim      02:30+0200
#         APScheduler  02:30+0200 02:30+0100
#         crontab      02:30+0200
#     30 2-3 * * * spring
#         croniter     03:00+0200 03:30+0200
#         cronsim      03:00+0200 03:30+0200
#         APScheduler  02:30+0100
#         crontab      02:30+0100 03:30+0200
#     0 */2 * * * spring
#         croniter     03:00+0200 04:00+0200
#         cronsim      04:00+0200
#         APScheduler  02:00+0100 04:00+0200
#         crontab      02:00+0100 04:00+0200
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    croniter==7.0.0 cronsim==2.8 APScheduler==3.11.3 crontab==1.0.5 tzdata
cd "$work"
venv/bin/python -W ignore - <<'END'
import importlib.metadata
import sys
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger
from croniter import croniter
from cronsim import CronSim
from crontab import CronTab

BERLIN = ZoneInfo("Europe/Berlin")
DAYS = {"spring": (2027, 3, 28), "autumn": (2027, 10, 31)}


def by_croniter(expression, start):
    runs = croniter(expression, start)
    while True:
        yield runs.get_next(datetime)


def by_cronsim(expression, start):
    return CronSim(expression, start)


def by_apscheduler(expression, start):
    trigger, last, now = CronTrigger.from_crontab(expression, timezone=BERLIN), None, start
    while True:
        last = trigger.get_next_fire_time(last, now)
        yield last
        now = (last.astimezone(UTC) + timedelta(microseconds=1)).astimezone(BERLIN)


def by_crontab(expression, start):
    now = start
    while True:
        now = CronTab(expression).next(now=now, return_datetime=True)
        yield now


LIBRARIES = {
    "croniter": by_croniter,
    "cronsim": by_cronsim,
    "APScheduler": by_apscheduler,
    "crontab": by_crontab,
}


def runs(library, expression, day):
    """The runs after 01:30 and before 04:30 on the clock, as `hour:minute+offset`."""
    start = datetime(*DAYS[day], 1, 30, tzinfo=BERLIN)
    end = datetime(*DAYS[day], 4, 30, tzinfo=BERLIN).astimezone(UTC)
    found = []
    for run in LIBRARIES[library](expression, start):
        if run.astimezone(UTC) >= end:
            return " ".join(found) or "-"
        found.append(f"{run:%H:%M%z}")


expected = {
    "30 2 * * * spring": ["03:00+0200", "03:00+0200", "02:30+0100", "02:30+0100"],
    "30 2 * * * autumn": ["02:30+0200 02:30+0100", "02:30+0200", "02:30+0200 02:30+0100", "02:30+0200"],
    "30 2-3 * * * spring": [
        "03:00+0200 03:30+0200",
        "03:00+0200 03:30+0200",
        "02:30+0100",
        "02:30+0100 03:30+0200",
    ],
    "0 */2 * * * spring": ["03:00+0200 04:00+0200", "04:00+0200", "02:00+0100 04:00+0200", "02:00+0100 04:00+0200"],
}
print(", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES))
seen = {}
for case in expected:
    expression, day = case.rsplit(" ", 1)
    seen[case] = [runs(library, expression, day) for library in LIBRARIES]
    print(case)
    for library, found in zip(LIBRARIES, seen[case], strict=True):
        print(f"    {library:12} {found}")
if seen != expected:
    sys.exit(f"CHANGED: expected {expected}")
END
