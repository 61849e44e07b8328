"""The contract of `taskflow.backend`, sentence by sentence, for every backend: durable tasks and leases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from taskflow.backend import APPLIED, FIXED, LOST, Change, Outcome, SnapshotBackend
from taskflow.models import TERMINAL, TaskStatus
from taskflow.query import TaskQuery
from taskflow.rows import RELEASED, TaskRow
from tests.backends import at, ids, inserts, row
from tests.processes import PATIENCE

PENDING, RUNNING, RETRYING, SUCCESS, FAILED, INTERRUPTED, CANCELLED = TaskStatus

SHORT = 0.05
"""Seconds of a lease that is to run out."""

LONG = 600.0
"""Seconds of a lease that is not."""


def to(new: TaskRow, expected: TaskRow) -> Change:
    """The change of a row, as it is expected, into a new one."""
    assert expected.owner is not None
    return Change(new, (expected.owner, expected.status))


def held_by(task_id: str) -> Outcome:
    return Outcome(applied=False, holder=task_id)


async def until(outcome: Callable[[], Awaitable[bool]]) -> None:
    """Return when something that takes time has come about."""
    async with asyncio.timeout(PATIENCE):
        while not await outcome():  # noqa: ASYNC110 - the clock is the database's
            await asyncio.sleep(0.01)


async def claimed(backend: SnapshotBackend, *names: str, limit: int = 100) -> list[str]:
    return ids(await backend.claimable(names or ["work"], limit))


# commit: inserts


async def test_an_inserted_row_is_there_as_it_was_given(backend: SnapshotBackend):
    new = row("a", tags={"k": "v"}, payload=b"[1]", idempotency_key="key", logs=["one"])
    assert [APPLIED] == await backend.commit(inserts(new))
    assert new == await backend.get("a")
    assert [new] == await backend.find(TaskQuery())


async def test_nothing_can_be_committed(backend: SnapshotBackend):
    assert [] == await backend.commit([])


async def test_an_insert_of_a_known_id_tells_the_id(backend: SnapshotBackend):
    await backend.commit(inserts(row("a")))
    assert [held_by("a")] == await backend.commit(inserts(row("a", RUNNING, logs=["other"])))
    assert row("a") == await backend.get("a")


async def test_an_insert_that_is_stored_already_counts_as_applied(backend: SnapshotBackend):
    first = row("a", idempotency_key="k")
    await backend.commit(inserts(first))
    assert [APPLIED] == await backend.commit(inserts(replace(first, body=row("a", logs=["x"]).body)))
    assert first == await backend.get("a")


async def test_an_insert_of_a_key_that_is_held_tells_the_holder(backend: SnapshotBackend):
    await backend.commit(inserts(row("a", idempotency_key="k")))
    assert [held_by("a")] == await backend.commit(inserts(row("b", idempotency_key="k")))
    assert await backend.get("b") is None


async def test_a_known_id_is_told_before_the_holder_of_its_key(backend: SnapshotBackend):
    await backend.commit(inserts(row("a", idempotency_key="k"), row("b")))
    assert [held_by("b")] == await backend.commit(inserts(row("b", RUNNING, idempotency_key="k")))


async def test_within_one_call_the_earlier_insert_holds_the_key(backend: SnapshotBackend):
    keyed = inserts(row("b", idempotency_key="k"), row("a", idempotency_key="k"), row("c"))
    assert [APPLIED, held_by("b"), APPLIED] == await backend.commit(keyed)
    assert {"b", "c"} == set(ids(await backend.find(TaskQuery())))


async def test_an_insert_that_is_not_applied_holds_no_key(backend: SnapshotBackend):
    await backend.commit(inserts(row("a")))
    await backend.commit(inserts(row("a", RUNNING, idempotency_key="k")))
    assert [APPLIED] == await backend.commit(inserts(row("b", idempotency_key="k")))


async def test_tasks_without_a_key_do_not_hold_up_each_other(backend: SnapshotBackend):
    assert [APPLIED] * 2 == await backend.commit(inserts(row("a"), row("b")))


@pytest.mark.parametrize("status", [PENDING, RUNNING, RETRYING, SUCCESS])
async def test_a_key_is_held_until_the_task_fails(backend: SnapshotBackend, status: TaskStatus):
    first = row("a", idempotency_key="k")
    await backend.commit(inserts(first))
    await backend.commit([to(row("a", status, idempotency_key="k"), first)])
    assert [held_by("a")] == await backend.commit(inserts(row("b", idempotency_key="k")))


@pytest.mark.parametrize("status", [FAILED, CANCELLED, INTERRUPTED])
async def test_a_task_that_ended_without_success_lets_go_of_its_key(
    backend: SnapshotBackend, status: TaskStatus
):
    first = row("a", idempotency_key="k")
    await backend.commit(inserts(first))
    ended = row("a", status, idempotency_key="k")
    assert [APPLIED, APPLIED] == await backend.commit(
        [to(ended, first), Change(row("b", idempotency_key="k"))]
    )
    assert [held_by("b")] == await backend.commit(inserts(row("c", idempotency_key="k")))


async def test_keys_that_differ_in_case_and_space_are_different(backend: SnapshotBackend):
    keyed = (row(str(n), idempotency_key=key) for n, key in enumerate(["k", "K", "k ", " k", "ｋ", ""]))
    assert [APPLIED] * 6 == await backend.commit(inserts(*keyed))


# commit: changes


@pytest.mark.parametrize("status", TaskStatus)
async def test_a_row_that_is_as_expected_changes(backend: SnapshotBackend, status: TaskStatus):
    first = row("a", RETRYING, payload=b"1")
    await backend.commit(inserts(first))
    changed = row("a", status, "there", payload=b"1", error="no", logs=["one"], attempt=2)
    assert [APPLIED] == await backend.commit([to(changed, first)])

    assert changed == await backend.get("a")
    assert ["a"] == ids(await backend.find(TaskQuery(status=[status])))
    others = set(TaskStatus) - {status}
    assert [] == await backend.find(TaskQuery(status=others))


async def test_what_is_fixed_stays_as_it_is(backend: SnapshotBackend):
    first = row("a", payload=b"1", tags={"k": "v"})
    await backend.commit(inserts(first))
    changed = row("a", RUNNING, func_name="f", created_at=at(9), encrypted_payload=b"2", tags={"x": "y"})
    await backend.commit([to(changed, first)])

    fixed = {name: getattr(first, name) for name in FIXED}
    assert replace(changed, **fixed) == await backend.get("a")
    assert ["a"] == ids(await backend.find(TaskQuery(func_name="work", until=at(1))))
    assert [] == await backend.find(TaskQuery(func_name="f"))


async def test_a_change_gives_no_key(backend: SnapshotBackend):
    await backend.commit(inserts(row("a"), row("b", idempotency_key="k")))
    changes = [
        to(row(name, RUNNING, idempotency_key=key), row(name)) for name, key in (("a", "k"), ("b", "x"))
    ]
    assert [APPLIED, APPLIED] == await backend.commit(changes)
    assert [None, "k"] == [(await backend.get(name)).held_key for name in "ab"]
    assert [APPLIED] == await backend.commit(inserts(row("c", idempotency_key="x")))


@pytest.mark.parametrize(
    "expected",
    [("there", PENDING), ("here", RUNNING), (RELEASED, PENDING), ("HERE", PENDING)],
    ids=str,
)
async def test_a_row_that_is_not_as_expected_is_lost(
    backend: SnapshotBackend, expected: tuple[str, TaskStatus]
):
    await backend.commit(inserts(row("a")))
    assert [LOST] == await backend.commit([Change(row("a", SUCCESS), expected)])
    assert row("a") == await backend.get("a")


async def test_a_change_of_a_row_that_is_not_there_is_lost(backend: SnapshotBackend):
    assert [LOST] == await backend.commit([to(row("a", RUNNING), row("a"))])
    assert await backend.get("a") is None


@pytest.mark.parametrize("status", TERMINAL)
async def test_a_row_that_has_ended_never_changes(backend: SnapshotBackend, status: TaskStatus):
    ended = row("a", status)
    await backend.commit(inserts(ended))
    other = next(iter(TERMINAL - {status}))
    changes = [Change(row("a", other), ("here", status)), Change(row("a", other), (RELEASED, status))]
    assert [[LOST], [LOST]] == [await backend.commit([change]) for change in changes]
    assert ended == await backend.get("a")


@pytest.mark.parametrize("status", [RUNNING, SUCCESS])
async def test_a_change_that_is_stored_already_counts_as_applied(
    backend: SnapshotBackend, status: TaskStatus
):
    await backend.commit(inserts(row("a")))
    again = to(row("a", status, logs=["one"]), row("a"))
    assert [[APPLIED], [APPLIED]] == [await backend.commit([again]) for _ in range(2)]
    assert row("a", status, logs=["one"]) == await backend.get("a")


async def test_every_change_has_its_outcome_in_order(backend: SnapshotBackend):
    await backend.commit(inserts(row("a"), row("b"), row("c", idempotency_key="k")))
    outcomes = await backend.commit(
        [
            to(row("b", RUNNING), row("b", owner="there")),
            Change(row("d")),
            to(row("a", RUNNING), row("a")),
            Change(row("e", idempotency_key="k")),
            Change(row("c", RUNNING)),
        ]
    )
    assert [LOST, APPLIED, APPLIED, held_by("c"), held_by("c")] == outcomes
    assert {"a": RUNNING, "b": PENDING, "c": PENDING, "d": PENDING} == {
        found.task_id: found.status for found in await backend.find(TaskQuery())
    }


async def test_a_row_of_the_history_is_taken_over_like_a_durable_one(backend: SnapshotBackend):
    saved = row("a", owner=RELEASED, durable=False)
    await backend.save([saved])
    mine = row("a", RUNNING, "there", durable=False)
    assert [APPLIED] == await backend.commit([to(mine, saved)])
    assert mine == await backend.get("a")


# commit: several at once


async def test_others_see_all_of_a_call_or_nothing(backend: SnapshotBackend, other: SnapshotBackend):
    writing = asyncio.create_task(backend.commit(inserts(*(row(f"{n:03}") for n in range(300)))))
    seen = set()
    while not writing.done():
        seen.add(len(await other.find(TaskQuery(limit=1000))))
        await asyncio.sleep(0)  # the one in memory answers without a pause
    assert [APPLIED] * 300 == await writing
    assert seen <= {0, 300}
    assert 300 == len(await other.find(TaskQuery(limit=1000)))


async def test_of_two_that_claim_the_same_rows_each_row_has_one_winner(
    backend: SnapshotBackend, other: SnapshotBackend
):
    rows = [row(f"{n:02}", owner=RELEASED) for n in range(50)]
    await backend.commit(inserts(*rows))

    async def claim(who: SnapshotBackend, name: str, wanted: list[TaskRow]) -> dict[str, str]:
        outcomes = await who.commit([to(replace(each, owner=name), each) for each in wanted])
        assert set(outcomes) <= {APPLIED, LOST}
        return {each.task_id: name for each, one in zip(wanted, outcomes, strict=True) if one.applied}

    # In opposite orders: whoever locks row by row would lock up.
    one, two = await asyncio.gather(claim(backend, "one", rows), claim(other, "two", rows[::-1]))
    assert one.keys() ^ two.keys() == set(ids(rows))
    assert one | two == {found.task_id: found.owner for found in await backend.find(TaskQuery())}


async def test_of_two_that_insert_a_key_at_once_one_holds_it(
    backend: SnapshotBackend, other: SnapshotBackend
):
    calls = [
        (backend if n % 2 else other).commit(inserts(row(str(n), idempotency_key="k"))) for n in range(10)
    ]
    outcomes = [outcome for (outcome,) in await asyncio.gather(*calls)]
    (holder,) = [str(n) for n, outcome in enumerate(outcomes) if outcome.applied]
    assert [held_by(holder)] * 9 == [outcome for outcome in outcomes if not outcome.applied]
    assert [holder] == ids(await backend.find(TaskQuery()))


async def test_of_two_that_insert_keys_in_opposite_order_each_key_has_one_holder(
    backend: SnapshotBackend, other: SnapshotBackend
):
    keys = [f"k{n:02}" for n in range(30)]
    one = [row(f"one {key}", idempotency_key=key) for key in keys]
    two = [row(f"two {key}", idempotency_key=key) for key in reversed(keys)]
    outcomes = await asyncio.gather(backend.commit(inserts(*one)), other.commit(inserts(*two)))

    stored = {found.held_key: found.task_id for found in await backend.find(TaskQuery())}
    assert set(keys) == stored.keys()
    for new, outcome in zip(one + two, outcomes[0] + outcomes[1], strict=True):
        holder = stored[new.held_key]
        assert (APPLIED if holder == new.task_id else held_by(holder)) == outcome


async def test_many_tasks_go_their_way_at_the_same_time(backend: SnapshotBackend):
    async def life(task_id: str) -> list[Outcome]:
        steps = [row(task_id), row(task_id, RUNNING), row(task_id, SUCCESS)]
        outcomes = await backend.commit(inserts(steps[0]))
        for before, after in pairwise(steps):
            outcomes += await backend.commit([to(after, before)])
        return outcomes

    lives = await asyncio.gather(*(life(f"{n:03}") for n in range(100)))
    assert [[APPLIED] * 3] * 100 == lives
    assert 100 == (await backend.count())[SUCCESS].count


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
