"""The heartbeat renews a lease while work goes on, and tells the work when to stop."""

from __future__ import annotations

import time

import pytest

from common.heartbeat import Heartbeat


@pytest.fixture(autouse=True)
def quick(settings):
    settings.ARGUS_HEARTBEAT_SECONDS = 0.02
    settings.ARGUS_LEASE_SECONDS = 0.2


def wait_for(heart: Heartbeat) -> bool:
    end = time.monotonic() + 5
    while not heart.lost and time.monotonic() < end:
        time.sleep(0.01)
    return heart.lost


def test_it_beats_until_the_work_is_done():
    beats = []
    with Heartbeat(lambda: bool(beats.append(1)) or True, longest=60) as heart:
        time.sleep(0.3)
        assert not heart.lost
    count = len(beats)
    assert count >= 3
    time.sleep(0.1)
    assert len(beats) == count


def test_a_lease_of_somebody_else_is_lost_at_once():
    with Heartbeat(lambda: False, longest=60) as heart:
        assert wait_for(heart)


def test_a_database_that_stays_away_loses_the_lease_before_it_ends():
    def away() -> bool:
        raise ConnectionError

    started = time.monotonic()
    with Heartbeat(away, longest=60) as heart:
        assert wait_for(heart)
    assert time.monotonic() - started >= 0.15


def test_work_that_hangs_is_not_kept_alive_for_ever():
    with Heartbeat(lambda: True, longest=0.1) as heart:
        assert wait_for(heart)
