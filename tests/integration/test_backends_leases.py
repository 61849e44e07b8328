"""The contract of a backend, sentence by sentence, for every backend: leases and claims."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from taskflow.core.models import TERMINAL, TaskStatus
from taskflow.core.query import TaskQuery
from taskflow.persistence.backend import LOST, SnapshotBackend
from taskflow.persistence.rows import RELEASED
from tests.backends import at, ids, inserts, row, to
from tests.processes import PATIENCE

PENDING, RUNNING, RETRYING, SUCCESS, FAILED, INTERRUPTED, CANCELLED = TaskStatus

SHORT = 0.05
"""Seconds of a lease that is to run out."""

LONG = 600.0
"""Seconds of a lease that is not."""


async def until(outcome: Callable[[], Awaitable[bool]]) -> None:
    """Return when something that takes time has come about."""
    async with asyncio.timeout(PATIENCE):
        while not await outcome():  # noqa: ASYNC110 - the clock is the database's
            await asyncio.sleep(0.01)


async def claimed(backend: SnapshotBackend, *names: str, limit: int = 100) -> list[str]:
    return ids(await backend.claimable(names or ["work"], limit))


# claimable


async def test_unfinished_rows_whose_owner_has_no_lease_may_be_taken_over(backend: SnapshotBackend):
    await backend.acquire("here", LONG)
    unfinished = [row(status.value, status, owner="gone") for status in (PENDING, RUNNING, RETRYING)]
    await backend.commit(inserts(*unfinished, *(row(status, status) for status in TERMINAL), row("mine")))
    await backend.commit(inserts(row("released", owner=RELEASED)))
    assert {"pending", "running", "retrying", "released"} == set(await claimed(backend))


async def test_a_claimable_row_is_whole(backend: SnapshotBackend):
    gone = row("a", RUNNING, owner="gone", payload=b"1", tags={"k": "v"}, idempotency_key="key")
    await backend.commit(inserts(gone))
    assert [gone] == await backend.claimable(["work"], 10)


async def test_rows_of_others_functions_are_left_out_unless_they_cannot_run_again(backend: SnapshotBackend):
    await backend.commit(
        inserts(
            row("durable", owner="gone", func_name="other"),
            row("released", owner=RELEASED, func_name="other"),
        )
    )
    await backend.save(
        [
            row("history", owner="gone", func_name="other", durable=False),
            row("released history", owner=RELEASED, func_name="other", durable=False),
        ]
    )
    assert ["history"] == await claimed(backend, "work")
    assert {"durable", "released", "history", "released history"} == set(
        await claimed(backend, "work", "other")
    )
    assert ["history"] == ids(await backend.claimable([], 10))


async def test_claimable_rows_come_oldest_first_and_by_id_from_low_to_high_among_equals(
    backend: SnapshotBackend,
):
    moments = {"d": 1, "b": 2, "a": 2, "c": 0, "Z": 2}
    owners = ["one", RELEASED, "two"]
    rows = [
        row(name, owner=owners[n % 3], created_at=at(second))
        for n, (name, second) in enumerate(moments.items())
    ]
    await backend.commit(inserts(*rows))
    assert list("cdZab") == await claimed(backend)


async def test_claimable_rows_are_given_in_pages(backend: SnapshotBackend):
    rows = [row(f"{n:02}", owner=f"gone {n % 3}", created_at=at(n // 4)) for n in range(20)]
    await backend.commit(inserts(*rows))

    found: list[str] = []
    after = None
    while page := await backend.claimable(["work"], 3, after=after):
        assert len(page) <= 3
        found += ids(page)
        after = page[-1].cursor
    assert sorted(ids(rows)) == found


async def test_rows_of_hundreds_of_dead_owners_are_claimable(backend: SnapshotBackend):
    # The oldest rows are of the owners that come last by name.
    rows = [row(f"{n:03}", owner=f"gone {449 - n:03}", created_at=at(n)) for n in range(450)]
    await backend.commit(inserts(*rows))
    assert ids(rows) == await claimed(backend, limit=1000)
    assert ids(rows)[:10] == await claimed(backend, limit=10)


async def test_a_row_that_was_taken_over_is_not_claimable_any_more(backend: SnapshotBackend):
    gone = row("a", owner="gone")
    await backend.commit(inserts(gone))
    await backend.acquire("here", LONG)
    await backend.commit([to(row("a"), gone)])
    assert [] == await claimed(backend)


async def test_names_with_quotes_are_names(backend: SnapshotBackend):
    name = """it's "a", %s\\ {name} [1] ☃"""
    await backend.commit(inserts(row("a", owner="gone", func_name=name), row("b", owner="gone")))
    assert ["a"] == await claimed(backend, name)
    assert {name: 1} == dict(await backend.unclaimable(["work"]))


# unclaimable


async def test_rows_that_are_left_out_for_their_name_alone_are_counted(backend: SnapshotBackend):
    await backend.acquire("here", LONG)
    await backend.commit(
        inserts(
            row("1", owner="gone", func_name="x"),
            row("2", owner=RELEASED, func_name="x"),
            row("3", owner="gone", func_name="y"),
            row("mine", func_name="x"),
            row("known", owner="gone"),
            row("ended", SUCCESS, func_name="x"),
        )
    )
    await backend.save(
        [
            row("4", owner=RELEASED, func_name="y", durable=False),
            row("history", owner="gone", func_name="x", durable=False),
        ]
    )
    assert {"x": 2, "y": 2} == dict(await backend.unclaimable(["work"]))
    assert {"x": 2, "y": 2, "work": 1} == dict(await backend.unclaimable([]))
    assert {} == dict(await backend.unclaimable(["work", "x", "y"]))


# Leases


async def test_rows_of_an_owner_with_a_lease_are_its_own(backend: SnapshotBackend, other: SnapshotBackend):
    await backend.acquire("here", LONG)
    await backend.commit(inserts(row("a")))
    assert [] == await claimed(other)


async def test_rows_of_a_lease_that_ran_out_may_be_taken_over(
    backend: SnapshotBackend, other: SnapshotBackend
):
    await backend.acquire("here", SHORT)
    await backend.commit(inserts(row("a")))

    async def is_claimable() -> bool:
        return await claimed(other) == ["a"]

    await until(is_claimable)
    assert ["a"] == await claimed(backend)


async def test_a_lease_that_ran_out_cannot_be_renewed(backend: SnapshotBackend):
    await backend.acquire("here", SHORT)
    await backend.commit(inserts(row("a")))

    async def is_claimable() -> bool:
        return await claimed(backend) == ["a"]

    await until(is_claimable)
    assert not await backend.renew("here", LONG)
    assert ["a"] == await claimed(backend)


async def test_a_lease_that_nobody_has_cannot_be_renewed(backend: SnapshotBackend):
    await backend.commit(inserts(row("a")))
    assert not await backend.renew("here", LONG)
    assert ["a"] == await claimed(backend)


async def test_a_renewed_lease_lasts_from_then_on(backend: SnapshotBackend):
    await backend.acquire("here", 1.0)
    assert await backend.renew("here", LONG)
    # One that began later, and lasts as long as the first one would have: when it ends, so had the first.
    await backend.acquire("clock", 1.0)
    await backend.commit(inserts(row("a"), row("tick", owner="clock")))

    async def is_over() -> bool:
        return "tick" in await claimed(backend)

    await until(is_over)
    assert ["tick"] == await claimed(backend)
    assert await backend.renew("here", LONG)


async def test_a_renewal_can_make_a_lease_shorter(backend: SnapshotBackend):
    await backend.acquire("here", LONG)
    await backend.commit(inserts(row("a")))
    assert await backend.renew("here", SHORT)

    async def is_claimable() -> bool:
        return await claimed(backend) == ["a"]

    await until(is_claimable)


async def test_rows_of_a_lease_that_was_released_may_be_taken_over_at_once(backend: SnapshotBackend):
    await backend.acquire("here", LONG)
    await backend.acquire("there", LONG)
    await backend.commit(inserts(row("a"), row("b", owner="there")))
    await backend.release("here")
    assert ["a"] == await claimed(backend)
    assert not await backend.renew("here", LONG)


async def test_releasing_a_lease_that_nobody_has_does_nothing(backend: SnapshotBackend):
    await backend.acquire("here", LONG)
    await backend.release("there")
    assert await backend.renew("here", LONG)


async def test_a_new_lease_takes_the_unfinished_rows_of_the_previous_one(backend: SnapshotBackend):
    await backend.acquire("old", LONG)
    await backend.commit(inserts(row("a", owner="old"), row("b", RUNNING, owner="old", logs=["x"])))
    await backend.commit(inserts(row("ended", SUCCESS), row("others", owner="there")))
    await backend.save([row("history", RETRYING, owner="old", durable=False)])
    await backend.release("old")
    await backend.acquire("new", LONG, previous="old")

    assert ["others"] == await claimed(backend)
    assert row("b", RUNNING, owner="new", logs=["x"]) == await backend.get("b")
    assert {"a": "new", "b": "new", "history": "new", "ended": None, "others": "there"} == {
        found.task_id: found.owner for found in await backend.find(TaskQuery())
    }


async def test_what_somebody_took_over_stays_with_them_when_the_lease_comes_back(backend: SnapshotBackend):
    await backend.acquire("there", LONG)
    await backend.commit(inserts(row("a", owner="old"), row("b", owner="old")))
    await backend.commit([to(row("a", owner="there"), row("a", owner="old"))])
    await backend.acquire("new", LONG, previous="old")
    assert ["there", "new"] == [(await backend.get(name)).owner for name in "ab"]
    assert [LOST] == await backend.commit([to(row("a", RUNNING, "new"), row("a", owner="new"))])


async def test_a_previous_lease_without_rows_is_no_trouble(backend: SnapshotBackend):
    await backend.acquire("new", LONG, previous="old")
    assert await backend.renew("new", LONG)
    assert not await backend.renew("old", LONG)


async def test_rows_written_under_a_lease_that_ran_out_are_claimable_all_the_same(backend: SnapshotBackend):
    await backend.acquire("here", LONG)
    await backend.release("here")
    await backend.acquire("there", LONG)
    await backend.commit(inserts(row("a")))
    await backend.save([row("b", durable=False)])
    assert ["a", "b"] == await claimed(backend)
