"""The short version of ``make chaos``: instances are killed, and every task is accounted for."""

import pytest

from tests.chaos.campaign import Campaign
from tests.chaos.outage import Outages
from tests.chaos.place import new_place

SEED = 8

CAMPAIGNS = [("sqlite", 9, 1), ("postgres", 3, 2), ("redis", 3, 2)]
"""Backend, kills, and instances that live at once."""


@pytest.mark.parametrize(("kind", "kills", "instances"), CAMPAIGNS)
def test_whoever_is_killed_when_every_promise_is_kept_and_every_task_ends_once(
    request, kind, kills, instances
):
    campaign = Campaign(new_place(kind, request), SEED, instances=instances)
    summary, wrong = campaign.run(kills)
    assert wrong == []
    assert summary.kills >= kills
    assert summary.promised > 0


@pytest.mark.parametrize(("kind", "fixture"), [("postgres", "postgres"), ("redis", "redis_server")])
def test_an_outage_of_the_store_costs_nobody_a_task_whose_process_lives(request, kind, fixture):
    place, server = new_place(kind, request, lease=1.0, look=0.2), request.getfixturevalue(fixture)
    try:
        summary, wrong = Outages(place, server, SEED, shortest=1.5, longest=2.5).run(3)
    finally:
        server.start()  # others need it
    assert wrong == []
    assert (summary.outages, summary.poison) == (3, 0)
    assert summary.promised > 0
