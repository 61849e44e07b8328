"""Several applications on one store: what each sees, in a namespace of its own, for every backend."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from taskflow.backends import MemoryBackend, PostgresBackend, RedisBackend, SqliteBackend
from taskflow.core.exceptions import ConfigurationError
from taskflow.core.models import TaskStatus
from taskflow.core.query import TaskQuery
from taskflow.persistence.backend import APPLIED, MISSING, Change, SnapshotBackend, StatusTotal
from taskflow.persistence.rows import RELEASED
from tests.backends import Store, at, history, ids, inserts, row, to

PENDING, RUNNING, RETRYING, SUCCESS, FAILED, INTERRUPTED, CANCELLED = TaskStatus


@pytest.fixture
async def billing(store: Store) -> AsyncIterator[SnapshotBackend]:
    """What another application has on the same store."""
    backend = store(namespace="billing")
    await backend.open()
    yield backend
    await backend.close()


def test_a_namespace_is_default_if_none_is_named(store: Store):
    assert ["default", "billing"] == [store().namespace, store(namespace="billing").namespace]


async def test_default_is_the_namespace_of_whoever_names_none(backend: SnapshotBackend, store: Store):
    await backend.save([history("a")])
    named = store(namespace="default")
    assert history("a") == await named.get("a")
    await named.close()


async def test_nobody_sees_the_rows_of_another_namespace(backend: SnapshotBackend, billing: SnapshotBackend):
    await backend.commit(inserts(row("a", tags={"k": "v"})))
    await backend.save([history("b", elapsed=1.0)])
    await billing.save([history("c", FAILED)])

    assert ["a", "b"] == sorted(ids(await backend.find(TaskQuery())))
    for query in (TaskQuery(), TaskQuery(func_name="work"), TaskQuery(status=TaskStatus)):
        assert ["c"] == ids(await billing.find(query))
    assert [] == await billing.find(TaskQuery(tag="k"))
    assert (None, None) == (await billing.get("a"), await billing.get("b"))
    assert {FAILED: StatusTotal(1, 1, 1.0)} == await billing.count()
    assert {PENDING, SUCCESS} == (await backend.count()).keys()


async def test_a_key_of_another_namespace_is_free(backend: SnapshotBackend, billing: SnapshotBackend):
    for number, each in enumerate((backend, billing)):
        assert [APPLIED] == await each.commit(inserts(row(str(number), idempotency_key="k")))
    for number, each in enumerate((backend, billing)):
        (outcome,) = await each.commit(inserts(row("new", idempotency_key="k")))
        assert str(number) == outcome.holder


async def test_nobody_takes_over_tasks_of_another_namespace(
    backend: SnapshotBackend, billing: SnapshotBackend
):
    await backend.commit(inserts(row("a", owner=RELEASED), row("b", RUNNING, "gone")))
    await backend.save([history("c", RUNNING, owner="gone")])
    assert [] == await billing.claimable(["work"], 10)
    assert {} == await billing.unclaimable([])
    assert ["a", "b", "c"] == ids(await backend.claimable(["work"], 10))

    await billing.acquire("new", previous="gone")
    assert ["a", "b", "c"] == ids(await backend.claimable(["work"], 10))


async def test_nobody_changes_a_row_of_another_namespace(backend: SnapshotBackend, billing: SnapshotBackend):
    released = row("a", owner=RELEASED)
    await backend.commit(inserts(released))
    await backend.save([history("b")])
    assert [MISSING] == await billing.commit([to(row("a", RUNNING), released)])
    assert [MISSING] == await billing.commit([Change(released, ("gone", PENDING))])
    assert (released, history("b")) == (await backend.get("a"), await backend.get("b"))


async def test_nobody_prunes_rows_of_another_namespace(backend: SnapshotBackend, billing: SnapshotBackend):
    await backend.save([history("a")])
    await billing.save([history("b")])
    assert 1 == await billing.prune(at(60))
    assert ["a"] == ids(await backend.find(TaskQuery()))


@pytest.mark.parametrize(
    "namespace", ["", "a b", "a:b", "é", "x" * 64, "a\n", "{a}", None, 5, b"a"], ids=repr
)
def test_a_namespace_that_cannot_be_is_refused(namespace: Any, tmp_path):
    for make in (
        lambda: MemoryBackend(namespace=namespace),
        lambda: SqliteBackend(tmp_path / "tasks.db", namespace=namespace),
        lambda: PostgresBackend("postgresql://127.0.0.1/d", namespace=namespace),
        lambda: RedisBackend("redis://127.0.0.1", namespace=namespace),
    ):
        with pytest.raises(ConfigurationError, match=r"^namespace=.*must be 1 to 63 of"):
            make()


# Where functions are


async def test_a_function_of_the_same_name_at_another_place_is_told_to_both(
    backend: SnapshotBackend, other: SnapshotBackend
):
    mine, theirs = {"send": "shop.send", "pay": "shop.pay"}, {"send": "billing.send", "own": "billing.own"}
    assert [] == list(await backend.declare(mine, 60.0))
    assert [("send", "shop.send")] == list(await other.declare(theirs, 60.0))
    assert [("send", "billing.send")] == list(await backend.declare(mine, 60.0))


async def test_instances_with_the_same_functions_are_no_namesakes(
    backend: SnapshotBackend, other: SnapshotBackend
):
    for each in (backend, other, backend):
        assert [] == list(await each.declare({"send": "shop.send", "it's ☃": "shop.<locals>.f"}, 60.0))


async def test_several_places_are_told_in_order(backend: SnapshotBackend):
    for place in ("c", "a", "b"):
        await backend.declare({"send": place, "pay": place}, 60.0)
    expected = [("pay", "a"), ("pay", "c"), ("send", "a"), ("send", "c")]
    assert expected == list(await backend.declare({"send": "b", "pay": "b"}, 60.0))


async def test_a_place_is_forgotten_after_its_time(backend: SnapshotBackend):
    await backend.declare({"send": "old.send"}, -1.0)
    assert [] == list(await backend.declare({"send": "new.send"}, 60.0))
    await backend.declare({"send": "old.send"}, 60.0)
    assert [("send", "old.send")] == list(await backend.declare({"send": "new.send"}, 60.0))


async def test_functions_of_another_namespace_are_not_told(
    backend: SnapshotBackend, billing: SnapshotBackend
):
    await backend.declare({"send": "shop.send"}, 60.0)
    assert [] == list(await billing.declare({"send": "billing.send"}, 60.0))


async def test_an_instance_without_functions_declares_nothing(backend: SnapshotBackend):
    assert [] == list(await backend.declare({}, 60.0))
