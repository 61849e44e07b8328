"""Names from input that nobody bounds."""

from taskflow.core.names import NAME_LIMIT, BoundedNames


def test_the_first_hundred_names_are_told_apart_and_all_others_are_one() -> None:
    names = BoundedNames()
    some = [f"name-{number}" for number in range(NAME_LIMIT)]

    assert some == [names.value(name) for name in some]
    assert ["other", "other"] == [names.value("late"), names.value("later")]
    assert (100, some[0]) == (NAME_LIMIT, names.value(some[0]))


def test_an_exempt_name_passes_and_takes_no_room() -> None:
    names = BoundedNames(limit=1)

    assert ["a", "b", "c", "other"] == [
        names.value("a", exempt=True),
        names.value("b"),
        names.value("c", exempt=True),
        names.value("d"),
    ]


def test_known_names_are_those_given_out_in_order() -> None:
    names = BoundedNames(limit=1)
    before = names.known()
    for name in ("b", "c", "a"):
        names.value(name)

    assert ([], ["b", "other"]) == (before, names.known())
