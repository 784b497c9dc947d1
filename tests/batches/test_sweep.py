"""The sweep brings back what was lost, and nothing else."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import transaction
from django.utils import timezone
from django_q.models import OrmQ, Schedule

from batches import tasks
from batches.models import Batch
from batches.receiving import Offer, append, begin_upload
from batches.scatter import scatter_batch
from batches.sweep import sweep
from batches.transitions import locked
from common.clock import from_now
from common.errors import StorageUnavailable
from files import parsing, storage
from files.models import File, Upload, UploadState, Way
from tests import factories
from tests.queue import drain, skip_delays, waiting

pytestmark = pytest.mark.django_db
LONG_AGO = from_now(-timedelta(minutes=10))


def lose_doorbells() -> None:
    OrmQ.objects.all().delete()


def completed(batch: Batch) -> bool:
    return Batch.objects.get(pk=batch.pk).state == "completed"


def test_it_is_scheduled():
    assert Schedule.objects.get(func="batches.tasks.sweep_batches").minutes == 1


def test_a_batch_whose_doorbell_was_lost_goes_on_at_every_stage():
    batch = factories.uploaded({"a.log": factories.CANDUMP})
    for _ in range(4):
        lose_doorbells()
        Batch.objects.filter(pk=batch.pk).update(state_changed_at=LONG_AGO)
        assert sum(sweep().values()) == 1
        stage, subject = waiting()[0]
        lose_doorbells()
        from django.utils.module_loading import import_string

        from common.pipeline import STAGES

        import_string(STAGES[stage])(subject)
    assert completed(batch)


def test_a_young_batch_is_left_to_its_doorbell():
    factories.uploaded({"a.log": factories.CANDUMP})
    lose_doorbells()
    assert sweep() == {}


def test_a_full_queue_is_not_filled_further():
    batch = factories.uploaded({"a.log": factories.CANDUMP})
    Batch.objects.filter(pk=batch.pk).update(state_changed_at=LONG_AGO)
    assert sweep() == {}
    assert len(waiting()) == 1


def test_a_file_whose_worker_died_is_taken_over():
    batch = factories.uploaded({"a.log": factories.CANDUMP})
    scatter_batch(batch.pk)
    lose_doorbells()
    file = File.objects.get(batch=batch)
    with transaction.atomic():
        locked(batch.pk)
        assert isinstance(parsing.claim(file.pk, "a worker that dies"), parsing.Claim)
    assert sweep() == {}
    File.objects.filter(pk=file.pk).update(lease_until=LONG_AGO)
    assert sweep() == {"parse": 1}
    drain()
    assert completed(batch)
    assert File.objects.get(pk=file.pk).crash_count == 1


@pytest.mark.parametrize(("stage", "state"), [("gather", "gathering"), ("diagnose", "diagnosing")])
def test_a_batch_whose_worker_died_is_taken_over(monkeypatch, stage, state):
    batch = factories.uploaded({"a.log": factories.CANDUMP})

    def die(*_):
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(f"batches.{stage}.{'gather' if stage == 'gather' else 'run'}", die)
        with pytest.raises(SystemExit):
            drain()
    lose_doorbells()
    assert Batch.objects.get(pk=batch.pk).state == state
    assert sweep() == {}
    Batch.objects.filter(pk=batch.pk).update(lease_until=LONG_AGO)
    assert sweep() == {stage: 1}
    drain()
    assert completed(batch)


def test_a_batch_that_kills_every_worker_fails_in_the_end():
    from batches import claims

    batch = factories.uploaded({"a.log": factories.CANDUMP})
    scatter_batch(batch.pk)
    for pk in File.objects.filter(batch=batch).values_list("pk", flat=True):
        from batches.parse import parse_file

        parse_file(pk)
    lose_doorbells()
    for _ in range(claims.MAX_ATTEMPTS):
        assert claims.claim(claims.GATHER, batch.pk) is not None
        Batch.objects.filter(pk=batch.pk).update(lease_until=LONG_AGO)
    sweep()
    drain()
    ended = Batch.objects.get(pk=batch.pk)
    assert (ended.state, ended.failed_stage, ended.error_code) == ("failed", "gathering", "worker_crashed")


def test_nothing_is_rung_for_a_cancelled_batch():
    from batches import retrigger

    batch = factories.uploaded({"a.log": factories.CANDUMP})
    scatter_batch(batch.pk)
    retrigger.cancel(batch.pk, actor="a", seen_fence=batch.fence)
    lose_doorbells()
    File.objects.update(next_attempt_at=LONG_AGO)
    Batch.objects.update(state_changed_at=LONG_AGO)
    skip_delays()
    assert sweep() == {}


# -- uploads -----------------------------------------------------------------------------------------------------------


def part_sent(content: bytes, size: int) -> Upload:
    """An upload of `size` bytes of which `content` has come."""
    upload = begin_upload(factories.batch().pk, Offer("x", size=size, way=Way.TUS)).upload
    append(upload, [content], offset=0, actor="test")
    return upload


def test_an_upload_whose_writer_was_killed_after_the_last_byte_becomes_a_file():
    upload = part_sent(b"conten", 7)
    with (Path(storage.storages["default"].location) / f"{upload.storage_key}.part").open("ab") as part:
        part.write(b"t")
    Upload.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    sweep()
    assert waiting() == [("verify", str(upload.pk))]
    drain(times=2)
    assert File.objects.get().sha256 == hashlib.sha256(b"content").hexdigest()
    assert (Batch.objects.get().total_files, Batch.objects.get().total_bytes) == (1, 7)
    sweep()
    assert waiting() == []


def test_an_upload_taken_for_whole_that_is_not_stays_open():
    upload = part_sent(b"conten", 7)
    Upload.objects.update(state=UploadState.VERIFYING)
    tasks.verify_upload(str(upload.pk))
    assert (Upload.objects.get().state, Upload.objects.get().offset) == (UploadState.OPEN, 6)


def test_idle_uploads_expire_and_their_bytes_go():
    part_sent(b"conten", 7)
    Upload.objects.update(touched_at=timezone.now() - timedelta(days=8))
    sweep()
    assert Upload.objects.get().state == UploadState.EXPIRED
    assert [path for path in Path(storage.storages["default"].location).rglob("*") if path.is_file()] == []


def test_a_declared_file_of_which_nothing_has_come_waits_as_long_as_its_batch():
    declared = factories.batch()
    upload = Upload.objects.create(batch=declared, name="late.log", declared=True, declared_size=7, storage_key="raw/late")
    Upload.objects.update(touched_at=timezone.now() - timedelta(days=29))
    sweep()
    upload.refresh_from_db()
    assert upload.state == UploadState.OPEN


def test_a_storage_that_fails_does_not_stop_the_sweep(monkeypatch):
    def fail(*args):
        raise StorageUnavailable

    monkeypatch.setattr(storage, "part_size", fail)
    part_sent(b"conten", 7)
    Upload.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert sweep() == {}
