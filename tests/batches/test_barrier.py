"""The barrier counts each file once, under the batch's lock, and opens exactly once."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction

from batches.barrier import settle_file
from batches.models import Batch
from batches.scatter import scatter_batch
from batches.transitions import locked
from events.models import Event
from files import parsing
from files.models import ErrorClass, File
from tests import factories
from tests.queue import waiting

SUMMARY = {
    "format": "candump",
    "parser_version": "1",
    "detection": {"reason": "test"},
    "partial": False,
    "time": {},
    "frames": {},
    "samples": 0,
    "message_count": 0,
    "message_levels": {},
    "undecoded": {},
    "attachments": [],
    "metadata": {},
    "coverage": {},
    "streams": [],
    "fault_codes": [],
    "skipped": {},
    "problem_count": 0,
    "lost": [],
}
BAD = parsing.Unreadable(ErrorClass.INPUT, "corrupt", "The file is corrupt.", 7)


def readable(file_id) -> parsing.Readable:
    return parsing.Readable(f"results/{file_id}/1", SUMMARY)


def scattered(files: int, **vehicle_fields) -> tuple[Batch, list[parsing.Claim]]:
    """A batch whose files are all claimed."""
    batch = factories.uploaded({f"{number}.log": b"x" for number in range(files)}, factories.vehicle(**vehicle_fields))
    scatter_batch(batch.pk)
    claims = []
    for pk in batch.files.values_list("pk", flat=True):
        with transaction.atomic():
            locked(batch.pk)
            claimed = parsing.claim(pk, "test")
        assert isinstance(claimed, parsing.Claim)
        claims.append(claimed)
    return Batch.objects.get(pk=batch.pk), claims


def state(batch: Batch) -> tuple[str, int, int, int, int]:
    now = Batch.objects.get(pk=batch.pk)
    return (str(now.state), now.processed_files, now.failed_files, now.expected_worker_count, now.completed_worker_count)


@pytest.mark.django_db
def test_the_last_file_opens_the_barrier_and_rings_gather():
    batch, (one, two) = scattered(2)
    assert settle_file(batch.pk, one.file_id, one.fence, readable(one.file_id))
    assert state(batch) == ("scattering", 1, 0, 2, 1)
    assert settle_file(batch.pk, two.file_id, two.fence, BAD)
    assert state(batch) == ("scattered", 1, 1, 2, 2)
    assert waiting()[-1] == ("gather", str(batch.pk))
    failed = File.objects.get(pk=two.file_id)
    assert (failed.state, failed.error_code, failed.error_offset) == ("failed", "corrupt", 7)


@pytest.mark.django_db
def test_a_repeated_settle_is_not_counted():
    batch, (one, _) = scattered(2)
    assert settle_file(batch.pk, one.file_id, one.fence, readable(one.file_id))
    assert not settle_file(batch.pk, one.file_id, one.fence, readable(one.file_id))
    assert not settle_file(batch.pk, one.file_id, one.fence, BAD)
    assert state(batch) == ("scattering", 1, 0, 2, 1)


@pytest.mark.django_db
def test_a_result_of_an_old_fence_is_dropped():
    batch, (one,) = scattered(1)
    assert not settle_file(batch.pk, one.file_id, one.fence - 1, readable(one.file_id))
    assert state(batch) == ("scattering", 0, 0, 1, 0)
    assert File.objects.get(pk=one.file_id).result_key == ""


@pytest.mark.django_db
def test_nothing_readable_fails_the_batch_at_the_barrier():
    batch, claims = scattered(2)
    for claimed in claims:
        settle_file(batch.pk, claimed.file_id, claimed.fence, BAD)
    ended = Batch.objects.get(pk=batch.pk)
    assert (ended.state, ended.failed_stage, ended.error_code) == ("failed", "scattering", "no_file_readable")
    assert ended.completed_at is not None
    assert ("gather", str(batch.pk)) not in waiting()


@pytest.mark.django_db
def test_a_strict_fleet_fails_for_one_bad_file():
    from vehicles.models import Fleet

    batch, (one, two) = scattered(2, fleet=Fleet.objects.create(name="strict", failure_policy="strict"))
    settle_file(batch.pk, one.file_id, one.fence, readable(one.file_id))
    settle_file(batch.pk, two.file_id, two.fence, BAD)
    assert Batch.objects.get(pk=batch.pk).error_code == "files_failed"


@pytest.mark.django_db
def test_every_change_is_an_event_with_a_seq_without_gap():
    batch, claims = scattered(2)
    for claimed in claims:
        settle_file(batch.pk, claimed.file_id, claimed.fence, readable(claimed.file_id))
    events = list(Event.objects.filter(batch=batch).order_by("seq"))
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    changes = [(event.payload["old_status"], event.payload["new_status"]) for event in events if event.type == "StatusChanged"]
    assert changes == [("pending", "uploaded"), ("uploaded", "scattering"), ("scattering", "scattered")]
    assert sum(event.type == "FileParsed" for event in events) == 2


@pytest.mark.django_db(transaction=True)
def test_files_that_settle_at_the_same_moment_open_the_barrier_once():
    for _ in range(5):
        batch, claims = scattered(8)
        start = threading.Barrier(len(claims))
        errors: list[Exception] = []

        def settle(claimed: parsing.Claim, batch=batch, start=start, errors=errors) -> None:
            try:
                start.wait()
                settle_file(batch.pk, claimed.file_id, claimed.fence, readable(claimed.file_id))
                settle_file(batch.pk, claimed.file_id, claimed.fence, readable(claimed.file_id))
            except Exception as error:
                errors.append(error)
            finally:
                connection.close()

        threads = [threading.Thread(target=settle, args=(claimed,)) for claimed in claims]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert state(batch) == ("scattered", 8, 0, 8, 8)
        assert waiting().count(("gather", str(batch.pk))) == 1


@pytest.mark.django_db
def test_a_claimed_file_is_nobody_elses():
    _, (one,) = scattered(1)
    with transaction.atomic():
        assert parsing.claim(one.file_id, "other") is None


@pytest.mark.django_db
def test_an_expired_lease_is_taken_over_as_a_crash_and_the_old_worker_writes_nothing():
    batch, (one,) = scattered(1)
    expire(one.file_id)
    with transaction.atomic():
        again = parsing.claim(one.file_id, "other")
    assert isinstance(again, parsing.Claim)
    assert (again.crash_count, again.attempt) == (1, 2)
    assert not parsing.renew(one, 5)
    assert not settle_file(batch.pk, one.file_id, one.fence, readable(one.file_id))
    assert settle_file(batch.pk, one.file_id, again.fence, readable(one.file_id))


@pytest.mark.django_db
def test_the_third_crash_ends_the_file():
    batch, (one,) = scattered(1)
    for _ in range(2):
        expire(one.file_id)
        with transaction.atomic():
            last = parsing.claim(one.file_id, "other")
        assert isinstance(last, parsing.Claim)
    expire(one.file_id)
    from batches.parse import parse_file

    parse_file(one.file_id)
    file = File.objects.get(pk=one.file_id)
    assert (file.state, file.error_class, file.error_code, file.crash_count) == ("failed", "crash", "worker_crashed", 3)
    assert Batch.objects.get(pk=batch.pk).state == "failed"


@pytest.mark.django_db
def test_a_worker_that_dies_while_it_ends_a_file_does_not_give_it_another_try():
    _, (one,) = scattered(1)
    File.objects.filter(pk=one.file_id).update(crash_count=parsing.MAX_CRASHES - 1)
    expire(one.file_id)
    for _ in range(2):
        with transaction.atomic():
            assert isinstance(parsing.claim(one.file_id, "other"), parsing.Exhausted)


@pytest.mark.django_db
def test_a_released_file_waits_for_its_delay_and_infra_is_not_counted():
    batch, (one,) = scattered(1)
    from batches.parse import release_file

    release_file(batch.pk, one, parsing.TryAgain(ErrorClass.INFRA, "storage_unavailable", "away", timedelta(hours=1)))
    file = File.objects.get(pk=one.file_id)
    assert (file.state, file.crash_count) == ("parsing", 0)
    with transaction.atomic():
        assert isinstance(parsing.claim(one.file_id, "other"), parsing.NotDue)
    File.objects.filter(pk=one.file_id).update(next_attempt_at=file.created_at - timedelta(days=1))
    with transaction.atomic():
        again = parsing.claim(one.file_id, "other")
    assert isinstance(again, parsing.Claim)
    assert again.crash_count == 0


def expire(file_id) -> None:
    file = File.objects.get(pk=file_id)
    File.objects.filter(pk=file_id).update(lease_until=file.created_at - timedelta(days=1))
