"""How moments are written."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from taskflow.core.clock import rfc3339, utc_second, utcnow


def test_now_is_aware_and_in_utc() -> None:
    assert utcnow().utcoffset() == timedelta(0)


# hypothesis wants its bounds naive
moments_in_utc = st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(st.lists(moments_in_utc, min_size=1))
def test_every_moment_is_written_as_itself_whatever_was_written_before(moments: list[datetime]) -> None:
    assert [rfc3339(moment) for moment in moments] == [
        moment.strftime(f"{moment.year:04d}-%m-%dT%H:%M:%S.%fZ") for moment in moments
    ]


def test_a_moment_in_another_zone_is_written_in_utc() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))

    assert (utc_second(noon), rfc3339(noon)) == ("2026-01-01T10:00:00", "2026-01-01T10:00:00.000000Z")
