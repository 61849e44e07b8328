"""The contract of a backend, sentence by sentence, for every backend: changes of durable tasks."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest

from taskflow.core.models import TERMINAL, TaskStatus
from taskflow.core.query import TaskQuery
from taskflow.persistence.backend import APPLIED, FIXED, LOST, MISSING, Change, Outcome, SnapshotBackend
from taskflow.persistence.rows import RELEASED, TaskRow, listed
from tests.backends import at, ids, inserts, row, to

PENDING, RUNNING, RETRYING, SUCCESS, FAILED, INTERRUPTED, CANCELLED = TaskStatus


def held_by(task_id: str) -> Outcome:
    return Outcome(applied=False, holder=task_id)


# commit: inserts


async def test_an_inserted_row_is_there_as_it_was_given(backend: SnapshotBackend):
    new = row("a", tags={"k": "v"}, payload=b"[1]", idempotency_key="key", logs=["one"])
    assert [APPLIED] == await backend.commit(inserts(new))
    assert new == await backend.get("a")
    assert [listed(new)] == await backend.find(TaskQuery())


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


async def test_a_key_belongs_to_its_function(backend: SnapshotBackend):
    mail, report = (row(name, func_name=name, idempotency_key="k") for name in ("mail", "report"))
    assert [APPLIED, APPLIED] == await backend.commit(inserts(mail, report))
    again = (row(f"{name} again", func_name=name, idempotency_key="k") for name in ("mail", "report"))
    assert [held_by("mail"), held_by("report")] == await backend.commit(inserts(*again))


@pytest.mark.parametrize("order", [("mail", "report"), ("report", "mail")], ids=["first", "second"])
async def test_a_function_lets_go_of_its_own_key_alone(backend: SnapshotBackend, order: tuple[str, str]):
    mail, report = (row(name, func_name=name, idempotency_key="k") for name in order)
    await backend.commit(inserts(mail, report))
    await backend.commit([to(row(order[0], FAILED, func_name=order[0], idempotency_key="k"), mail)])

    again = [row(f"{name} again", func_name=name, idempotency_key="k") for name in order]
    assert [APPLIED, held_by(order[1])] == await backend.commit(inserts(*again))
    once_more = row("once more", func_name=order[0], idempotency_key="k")
    assert [held_by(f"{order[0]} again")] == await backend.commit(inserts(once_more))


async def test_a_key_and_a_name_are_not_taken_for_another_key_and_name(backend: SnapshotBackend):
    pairs = [("a", "b"), ("ab", ""), ("", "ab"), ("a,b", "c"), ("a", "b,c"), ("b", "a"), ('"a"', "b")]
    rows = [row(str(n), func_name=name, idempotency_key=key) for n, (name, key) in enumerate(pairs)]
    assert [APPLIED] * len(rows) == await backend.commit(inserts(*rows))


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


async def test_a_change_of_a_row_that_is_not_there_tells_that_it_is_missing(backend: SnapshotBackend):
    assert [MISSING] == await backend.commit([to(row("a", RUNNING), row("a"))])
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


async def test_a_row_of_the_history_can_be_inserted_under_the_condition_that_nobody_has(
    backend: SnapshotBackend,
):
    mine, other = row("a", owner="here", durable=False), row("a", owner="there", durable=False)
    assert [APPLIED] == await backend.commit(inserts(mine))
    assert [held_by("a")] == await backend.commit(inserts(other))
    ended = row("a", SUCCESS, durable=False, tags={"k": "v"}, payload=b"[1]")
    await backend.save([ended])
    assert ended == await backend.get("a")


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
