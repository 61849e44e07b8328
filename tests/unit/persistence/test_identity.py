"""What the name of a lease tells of its process."""

import multiprocessing
import os
import subprocess
import sys

import pytest

from taskflow.persistence import identity
from taskflow.persistence.identity import Names, has_died, life_of

NAMED = """
import os
from taskflow.persistence.identity import Names
print(Names().new(), flush=True)
os.read(0, 1)
"""

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def child():
    with subprocess.Popen(
        [sys.executable, "-c", NAMED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def test_no_two_names_are_the_same_and_those_of_one_life_tell_so():
    first, second = Names(), Names()
    names = [first.new(), first.new(), second.new()]
    assert len(set(names)) == 3
    assert life_of(names[0]) == life_of(names[1]) != life_of(names[2])


def test_a_process_that_lives_has_not_died(child):
    assert not has_died(Names().new())
    assert not has_died(child.stdout.readline().strip())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_a_process_that_was_killed_has_died_also_before_anybody_took_note(child):
    name = child.stdout.readline().strip()
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie now
    assert has_died(name)
    child.wait()
    assert has_died(name)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_a_process_whose_id_another_one_has_now_has_died():
    *most, started = Names().new().split(".")
    assert has_died(".".join([*most, str(int(started) - 1)]))


def test_nobody_knows_whether_a_process_of_another_machine_has_died(child, monkeypatch):
    name = child.stdout.readline().strip()
    child.kill()
    child.wait()
    monkeypatch.setattr(identity, "_machine", lambda: "another")
    assert not has_died(name)


@pytest.mark.parametrize("name", ["", "here", "0b7f7a4e8e5c4b0c8f0d1c2b3a495867", "a.1..1.1", "a.1.m.x.1"])
def test_a_name_that_tells_nothing_proves_no_death(name):
    assert not has_died(name)
