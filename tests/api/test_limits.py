"""How many uploads at once, how many requests a second, how many bytes a day: refused in time, counted by all processes together."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from datetime import timedelta

import pytest
from django.utils import timezone

from batches import quota
from batches.api import limits
from common import rates
from common.errors import QuotaExceeded, TooManyRequests, TooManyUploads
from common.rates import Rates
from files.models import Upload, UploadState
from tests import factories
from tests.api.conftest import API, refused

TAKE = """
import sys
from pathlib import Path
from common.rates import Rates
table = Rates(Path(sys.argv[1]))
print(sum(table.take("car", 0.001, 300) == 0 for _ in range(400)))
"""


# -- at once -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def slots(settings) -> limits.Slots:
    settings.ARGUS_MAX_UPLOADS, settings.ARGUS_MAX_UPLOADS_PER_VEHICLE = 3, 2
    return limits.Slots()


def test_the_server_takes_so_many_uploads_and_then_those_that_follow_an_end(slots):
    with slots.one("a"), slots.one("b"):
        with slots.one("c"), pytest.raises(TooManyUploads) as refusal, slots.one("d"):
            pass
        with slots.one("d"):
            assert slots.taken == 3
    assert slots.taken == 0
    assert 3 <= refusal.value.retry_after <= 12


def test_one_vehicle_does_not_take_all_of_them(slots):
    with slots.one("a"), slots.one("a"):
        with pytest.raises(TooManyUploads), slots.one("a"):
            pass
        with slots.one("b"):
            pass


def test_an_upload_that_fails_gives_its_place_back(slots):
    for _ in range(10):
        with pytest.raises(ValueError, match="disk"), slots.one("a"):
            raise ValueError("disk")
    assert slots.taken == 0


def test_racing_threads_never_hold_more_than_the_limit(slots):
    most, lock, refusals = [0], threading.Lock(), []

    def race(vehicle: int) -> None:
        for _ in range(200):
            try:
                with slots.one(vehicle):
                    with lock:
                        most[0] = max(most[0], slots.taken)
                    time.sleep(0)
            except TooManyUploads as refusal:
                refusals.append(refusal)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 3
    assert slots.taken == 0


# -- how often ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path) -> Rates:
    return Rates(tmp_path / "rates")


def test_a_bucket_is_full_at_first_and_fills_again_at_its_rate(table, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(rates.time, "monotonic", lambda: now)
    assert [table.take("car", 10, 5) for _ in range(5)] == [0] * 5
    assert table.take("car", 10, 5) == pytest.approx(0.1)
    now += 0.1
    assert table.take("car", 10, 5) == 0
    assert table.take("car", 10, 5) > 0
    now += 3600
    assert [table.take("car", 10, 5) for _ in range(5)] == [0] * 5
    assert table.take("car", 10, 5) > 0


def test_buckets_do_not_touch_each_other(table):
    for _ in range(5):
        assert table.take("car", 0.001, 5) == 0
    assert table.take("car", 0.001, 5) > 0
    assert table.take("other car", 0.001, 5) == 0


def test_refused_requests_cost_nothing(table, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(rates.time, "monotonic", lambda: now)
    while not table.take("car", 1, 2):
        pass
    for _ in range(100):
        assert table.take("car", 1, 2) == pytest.approx(1)


def test_a_clock_that_starts_anew_blocks_nobody(table, monkeypatch):
    now = 1_000_000.0
    monkeypatch.setattr(rates.time, "monotonic", lambda: now)
    while not table.take("car", 10, 5):
        pass
    now = 3.0
    assert [table.take("car", 10, 5) for _ in range(5)] == [0] * 5
    assert table.take("car", 10, 5) > 0


def test_a_set_that_overflows_forgets_the_fullest_bucket(table, monkeypatch):
    monkeypatch.setattr(rates, "_number", lambda key: 7 + int(key) * rates.SETS)
    for _ in range(5):
        table.take("0", 0.001, 5)
    for key in range(1, 50):
        table.take(str(key), 0.001, 5)
    assert table.take("0", 0.001, 5) > 0


def test_processes_and_threads_share_a_bucket_exactly(tmp_path):
    path = tmp_path / "rates"
    children = [subprocess.Popen([sys.executable, "-c", TAKE, str(path)], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    table, taken = Rates(path), []

    def take() -> None:
        taken.append(sum(table.take("car", 0.001, 300) == 0 for _ in range(100)))

    threads = [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) + sum(int(child.communicate(timeout=60)[0]) for child in children) == 300


def test_a_token_costs_less_than_a_tenth_of_a_millisecond(table):
    begun = time.perf_counter()
    for _ in range(1000):
        table.take("car", 1, 1_000_000)
    assert time.perf_counter() - begun < 0.1


def test_a_vehicle_that_asks_too_often_is_told_when_to_come_again(car, other_car, settings):
    settings.ARGUS_REQUESTS_PER_SECOND, settings.ARGUS_REQUEST_BURST = 0.01, 3
    for _ in range(3):
        assert car.get(API).status_code == 200
    answer = car.get(API)
    refused(answer, 429, TooManyRequests.code)
    assert 0 < int(answer["Retry-After"]) <= 100
    assert other_car.get(API).status_code == 200


def test_zero_means_any_number(car, settings):
    settings.ARGUS_REQUESTS_PER_SECOND, settings.ARGUS_REQUEST_BURST = 0, 1
    for _ in range(5):
        assert car.get(API).status_code == 200


# -- how much ----------------------------------------------------------------------------------------------------------


def upload(vehicle, size: int | None, **fields) -> Upload:
    batch = factories.batch(vehicle)
    return Upload.objects.create(batch=batch, name="x", declared_size=size, storage_key=f"raw/{batch.pk}/x", **fields)


def test_a_quota_counts_what_was_announced_and_what_has_come_within_a_day(vehicle, settings):
    settings.ARGUS_DAILY_BYTES = 1000
    upload(vehicle, 300)
    upload(vehicle, 300, state=UploadState.FINISHED, offset=300)
    upload(vehicle, None, offset=100)
    upload(vehicle, 5000, state=UploadState.FAILED)
    upload(vehicle, 5000, state=UploadState.EXPIRED)
    upload(factories.vehicle(), 5000)
    old = upload(vehicle, 5000)
    Upload.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(hours=25))
    assert quota.sent_bytes(vehicle.pk) == 700
    quota.need_room(vehicle.pk, 300)
    with pytest.raises(QuotaExceeded) as refusal:
        quota.need_room(vehicle.pk, 301)
    assert refusal.value.extra == {"sent": 700, "limit": 1000}


def test_without_a_quota_nothing_is_asked(vehicle, settings, django_assert_num_queries):
    settings.ARGUS_DAILY_BYTES = 0
    with django_assert_num_queries(0):
        quota.need_room(vehicle.pk, 10**15)


def test_a_file_above_the_quota_is_refused_before_it_is_stored(car, settings):
    settings.ARGUS_DAILY_BYTES = 10
    batch_id = car.open()
    assert car.send(batch_id, "a.blf", b"12345678").status_code == 201
    answer = car.send(batch_id, "b.blf", b"123")
    refused(answer, 429, QuotaExceeded.code)
    assert int(answer["Retry-After"]) > 0
    assert car.send(batch_id, "c.blf", b"12").status_code == 201
