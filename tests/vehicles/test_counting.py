"""What is counted within a minute is counted by all processes together."""

from __future__ import annotations

from datetime import timedelta
from threading import Thread

import pytest
from django.db import connection
from django.utils import timezone

from vehicles.counting import count_up, seconds_over
from vehicles.models import Counter

pytestmark = pytest.mark.django_db


def test_the_limit_is_reached_and_over_after_a_minute():
    assert [count_up("x", 3) for _ in range(3)] == [None] * 3
    wait = count_up("x", 3)
    assert wait is not None
    assert 1 <= wait <= 61
    assert seconds_over("x", 3) is not None
    assert seconds_over("y", 3) is None
    Counter.objects.update(since=timezone.now() - timedelta(seconds=61))
    assert seconds_over("x", 3) is None
    assert count_up("x", 3) is None
    assert Counter.objects.get().count == 1


def test_old_counts_are_swept_when_a_new_one_comes():
    count_up("old", 3)
    Counter.objects.update(since=timezone.now() - timedelta(minutes=3))
    count_up("new", 3)
    assert Counter.objects.get().subject == "new"


@pytest.mark.django_db(transaction=True)
def test_many_at_once_never_get_more_than_the_limit():
    allowed: list[bool] = []

    def run() -> None:
        try:
            for _ in range(10):
                allowed.append(count_up("x", 40) is None)
        finally:
            connection.close()

    threads = [Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(allowed) == 80
    assert 30 < sum(allowed) <= 40
    assert Counter.objects.get().count >= 40
