"""When a lease counts as silent: by what one process has seen itself, and by no clock of another."""

import pytest

from taskflow.persistence.watch import Watch

TIMEOUT, GAP = 30, 15


@pytest.fixture
def watch():
    return Watch(TIMEOUT, GAP)


def look(watch, *moments, beats=1, lasting=0.0):
    """See a lease ``a`` with so many beats, at each of the moments; each look takes so long."""
    for moment in moments:
        watch.saw({"a": beats}, moment, moment + lasting)


def test_a_lease_is_silent_once_it_was_seen_unrenewed_for_the_whole_time(watch):
    look(watch, 0, 10, 20, 29.9)
    assert watch.silent() == {}
    look(watch, 30)
    assert watch.silent() == {"a": 1}


def test_a_beat_begins_the_time_anew(watch):
    look(watch, 0, 10, 20)
    look(watch, 25, 35, 45, 54, beats=2)
    assert watch.silent() == {}
    look(watch, 55, beats=2)
    assert watch.silent() == {"a": 2}


def test_what_a_look_does_not_know_it_leaves_open(watch):
    # It may have been renewed between the answer to the first look and the question of the last one alone.
    look(watch, 0, 10, 20, 30, 32, lasting=2.5)
    assert watch.silent() == {}
    look(watch, 32.5, lasting=2.5)
    assert watch.silent() == {"a": 1}


def test_a_look_that_failed_begins_the_time_of_all_anew(watch):
    look(watch, 0, 10, 20)
    watch.lost_contact()
    look(watch, 29, 40, 50, 58)
    assert watch.silent() == {}
    look(watch, 59)
    assert watch.silent() == {"a": 1}


def test_a_watch_that_stood_still_begins_anew(watch):
    look(watch, 0, 10, 100, 110, 120)
    assert watch.silent() == {}
    look(watch, 130)
    assert watch.silent() == {"a": 1}


def test_a_lease_that_was_released_or_that_is_gone_is_not_silent(watch):
    look(watch, 0, 10, 20, 30, 40, beats=0)
    assert watch.silent() == {}
    look(watch, 50, 60, 70, 80)
    assert watch.silent() == {"a": 1}
    watch.saw({}, 81, 81)
    assert watch.silent() == {}
