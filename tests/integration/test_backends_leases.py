"""The contract of a backend, sentence by sentence, for every backend: leases and claims."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from taskflow.core.models import TERMINAL, TaskStatus
from taskflow.core.query import TaskQuery
from taskflow.persistence.backend import LOST, SnapshotBackend
from taskflow.persistence.rows import RELEASED
from tests.backends import at, ids, inserts, row, to
from tests.processes import PATIENCE

PENDING, RUNNING, RETRYING, SUCCESS, FAILED, INTERRUPTED, CANCELLED = TaskStatus


async def claimed(backend: SnapshotBackend, *names: str, limit: int = 100) -> list[str]:
    return ids(await backend.claimable(names or ["work"], limit))


# claimable


async def test_unfinished_rows_whose_owner_has_no_lease_may_be_taken_over(backend: SnapshotBackend):
    await backend.acquire("here")
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
    await backend.acquire("here")
    await backend.commit([to(row("a"), gone)])
    assert [] == await claimed(backend)


async def test_names_with_quotes_are_names(backend: SnapshotBackend):
    name = """it's "a", %s\\ {name} [1] ☃"""
    await backend.commit(inserts(row("a", owner="gone", func_name=name), row("b", owner="gone")))
    assert ["a"] == await claimed(backend, name)
    assert {name: 1} == dict(await backend.unclaimable(["work"]))


# unclaimable


async def test_rows_that_are_left_out_for_their_name_alone_are_counted(backend: SnapshotBackend):
    await backend.acquire("here")
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


async def test_a_lease_counts_its_beats(backend: SnapshotBackend, other: SnapshotBackend):
    await backend.acquire("here")
    assert {"here": 1} == await other.leases()
    assert await backend.renew("here")
    assert await backend.renew("here")
    await backend.acquire("there")
    assert {"here": 3, "there": 1} == await other.leases()


async def test_rows_of_an_owner_with_a_lease_are_its_own_for_as_long_as_nobody_ends_it(
    backend: SnapshotBackend, other: SnapshotBackend
):
    await backend.acquire("here")
    await backend.commit(inserts(row("a")))
    assert [] == await claimed(other)
    assert await other.expire("here", 1)
    assert ["a"] == await claimed(other)
    assert ["a"] == await claimed(backend)
    assert {} == await backend.leases()


async def test_a_lease_that_was_renewed_meanwhile_is_not_ended(
    backend: SnapshotBackend, other: SnapshotBackend
):
    await backend.acquire("here")
    await backend.commit(inserts(row("a")))
    await backend.renew("here")
    assert not await other.expire("here", 1)
    assert not await other.expire("nobody", 1)
    assert [] == await claimed(other)
    assert {"here": 2} == await backend.leases()


async def test_a_lease_is_ended_once(backend: SnapshotBackend):
    await backend.acquire("here")
    await backend.commit(inserts(row("a")))
    assert [True, False] == [await backend.expire("here", 1) for _ in range(2)]


async def test_a_lease_that_was_ended_cannot_be_renewed(backend: SnapshotBackend):
    await backend.acquire("here")
    await backend.commit(inserts(row("a")))
    await backend.expire("here", 1)
    assert not await backend.renew("here")
    assert ["a"] == await claimed(backend)


async def test_a_lease_that_nobody_has_cannot_be_renewed(backend: SnapshotBackend):
    await backend.commit(inserts(row("a")))
    assert not await backend.renew("here")
    assert ["a"] == await claimed(backend)


async def test_rows_of_a_lease_that_was_released_may_be_taken_over_at_once(backend: SnapshotBackend):
    await backend.acquire("here")
    await backend.acquire("there")
    await backend.commit(inserts(row("a"), row("b", owner="there")))
    await backend.release("here")
    assert ["a"] == await claimed(backend)
    assert not await backend.renew("here")
    assert not await backend.expire("here", 0)


async def test_that_a_lease_was_released_is_told_until_none_of_its_rows_is_left(backend: SnapshotBackend):
    await backend.acquire("here")
    await backend.commit(inserts(row("a")))
    await backend.release("here")
    await backend.acquire("there")
    assert {"here": 0, "there": 1} == await backend.leases()
    await backend.commit([to(row("a", owner="there"), row("a"))])
    await backend.acquire("another")
    await claimed(backend)
    assert {"there": 1, "another": 1} == await backend.leases()


async def test_releasing_a_lease_that_nobody_has_does_nothing(backend: SnapshotBackend):
    await backend.acquire("here")
    await backend.release("there")
    assert await backend.renew("here")
    assert {"here": 2} == await backend.leases()


async def test_a_new_lease_takes_the_unfinished_rows_of_the_previous_one(backend: SnapshotBackend):
    await backend.acquire("old")
    await backend.commit(inserts(row("a", owner="old"), row("b", RUNNING, owner="old", logs=["x"])))
    await backend.commit(inserts(row("ended", SUCCESS), row("others", owner="there")))
    await backend.save([row("history", RETRYING, owner="old", durable=False)])
    await backend.expire("old", 1)
    await backend.acquire("new", previous="old")

    assert ["others"] == await claimed(backend)
    assert row("b", RUNNING, owner="new", logs=["x"]) == await backend.get("b")
    assert {"a": "new", "b": "new", "history": "new", "ended": None, "others": "there"} == {
        found.task_id: found.owner for found in await backend.find(TaskQuery())
    }


async def test_a_new_lease_takes_very_many_rows(backend: SnapshotBackend):
    rows = [row(f"{n:05}", owner="old", created_at=at(n)) for n in range(6_000)]
    for n in range(0, len(rows), 500):
        await backend.commit(inserts(*rows[n : n + 500]))
    await backend.acquire("new", previous="old")
    assert [] == await claimed(backend)
    await backend.release("new")
    assert ids(rows)[:100] == await claimed(backend)
    assert {"work": 6_000} == dict(await backend.unclaimable([]))


async def test_what_somebody_took_over_stays_with_them_when_the_lease_comes_back(backend: SnapshotBackend):
    await backend.acquire("there")
    await backend.commit(inserts(row("a", owner="old"), row("b", owner="old")))
    await backend.commit([to(row("a", owner="there"), row("a", owner="old"))])
    await backend.acquire("new", previous="old")
    assert ["there", "new"] == [(await backend.get(name)).owner for name in "ab"]
    assert [LOST] == await backend.commit([to(row("a", RUNNING, "new"), row("a", owner="new"))])


async def test_a_previous_lease_without_rows_is_no_trouble(backend: SnapshotBackend):
    await backend.acquire("new", previous="old")
    assert await backend.renew("new")
    assert not await backend.renew("old")


async def test_rows_written_under_a_lease_that_was_ended_are_claimable_all_the_same(backend: SnapshotBackend):
    await backend.acquire("here")
    await backend.release("here")
    await backend.acquire("there")
    await backend.commit(inserts(row("a")))
    await backend.save([row("b", durable=False)])
    assert ["a", "b"] == await claimed(backend)


async def test_a_twin_sees_the_same_leases_on_the_loop_of_another_thread(backend: SnapshotBackend):
    await backend.acquire("here")
    twin = backend.twin(PATIENCE)
    if twin is None:
        pytest.skip("it has none")

    async def beat() -> tuple[bool, Mapping[str, int]]:
        try:
            return await twin.renew("here"), await twin.leases()
        finally:
            await twin.close()

    assert (True, {"here": 2}) == await asyncio.to_thread(lambda: asyncio.run(beat()))
    assert {"here": 2} == await backend.leases()
