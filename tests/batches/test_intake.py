"""Batches coming in: what is counted, stored and told at each step, and that races end in one of the allowed ways."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings as live_settings
from django.db import connection, connections
from django.utils import timezone
from django_q.models import OrmQ

from batches.intake import Offer, begin_upload, complete_batch, delete_batch, open_batch, take_file
from batches.models import Batch, BatchState
from common.errors import (
    BatchEmpty,
    FilesPending,
    NotFound,
    StorageUnavailable,
    UploadLost,
    WrongState,
)
from events.models import Event, EventType
from files import storage, uploads
from files.models import File, FileState, Upload
from tests import factories

ACTOR = "vehicle:test"
pytestmark = pytest.mark.django_db


def objects() -> list[str]:
    """Everything in the store."""
    root = Path(storage.storages["default"].location)
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def send(batch: Batch, name: str = "drive.blf", content: bytes = b"content", **offer) -> File:
    return take_file(batch.pk, Offer(name, **offer), [content], actor=ACTOR)[0]


def seen(batch: Batch) -> Batch:
    """The batch as it is in the database."""
    return Batch.objects.get(pk=batch.pk)


def told(batch: Batch) -> list[str]:
    """The types of its events, which are numbered without a gap."""
    rows = list(Event.objects.filter(batch=batch).order_by("seq").values_list("seq", "type"))
    assert [seq for seq, _ in rows] == list(range(1, len(rows) + 1))
    assert seen(batch).event_seq == len(rows)
    return [type for _, type in rows]


@pytest.fixture
def batch(vehicle) -> Batch:
    return open_batch(vehicle, {}, actor=ACTOR)


# -- files -------------------------------------------------------------------------------------------------------------


def test_a_new_batch_is_pending_and_told(batch):
    assert seen(batch).state == BatchState.PENDING
    assert told(batch) == [EventType.BATCH_OPENED]


# -- complete ----------------------------------------------------------------------------------------------------------


def test_complete_moves_tells_and_rings_in_one_transaction(batch):
    send(batch)
    complete_batch(batch.pk, None, 3, actor=ACTOR)
    now = seen(batch)
    assert (now.state, now.expected_workers, now.processed_files, now.failed_files) == (BatchState.UPLOADED, 3, 0, 0)
    assert now.uploaded_at is not None
    assert told(batch)[2:] == [EventType.BATCH_CREATED, EventType.STATUS_CHANGED]
    created, changed = Event.objects.filter(batch=batch).order_by("seq")[2:]
    assert created.payload.keys() == {"batch_id", "vehicle_id", "timestamp"}
    assert changed.payload == {"old_status": "pending", "new_status": "uploaded"}
    assert [row.task["func"] for row in OrmQ.objects.all()] == ["batches.tasks.scatter_batch"]


def test_complete_again_changes_nothing(batch):
    send(batch)
    complete_batch(batch.pk, None, None, actor=ACTOR)
    before = told(batch)
    complete_batch(batch.pk, None, None, actor=ACTOR)
    assert told(batch) == before
    assert OrmQ.objects.count() == 1


def test_an_empty_batch_cannot_be_completed(batch):
    for manifest in (None, []):
        with pytest.raises(BatchEmpty):
            complete_batch(batch.pk, manifest, None, actor=ACTOR)
    assert seen(batch).state == BatchState.PENDING
    assert OrmQ.objects.count() == 0


def test_an_abandoned_batch_cannot_be_completed(vehicle):
    batch = factories.batch(vehicle, state=BatchState.ABANDONED)
    with pytest.raises(WrongState):
        complete_batch(batch.pk, None, None, actor=ACTOR)


def test_complete_waits_for_uploads_that_are_alive_and_says_so(batch):
    send(batch, name="1")
    begun = begin_upload(batch.pk, Offer("2"), claim=True)
    with pytest.raises(FilesPending) as caught:
        complete_batch(batch.pk, None, None, actor=ACTOR)
    assert caught.value.extra["uploading"] == ["2"]
    assert (caught.value.retryable, caught.value.retry_after) == (True, 5)
    uploads.end(uploads.coming(batch.pk).filter(pk=begun.upload.pk))
    assert complete_batch(batch.pk, None, None, actor=ACTOR).state == BatchState.UPLOADED


def test_complete_compares_the_manifest(batch):
    send(batch, name="same", content=b"12345")
    send(batch, name="short", content=b"1234")
    send(batch, name="corrupt", content=b"54321")
    send(batch, name="unexpected", content=b"1")
    wanted = [{"name": name, "size": 5, "sha256": sha256(b"12345")} for name in ("same", "short", "corrupt", "missing")]
    with pytest.raises(FilesPending) as caught:
        complete_batch(batch.pk, wanted, None, actor=ACTOR)
    found = {kind: caught.value.extra[kind] for kind in ("missing", "short", "corrupt", "unexpected")}
    assert found == {"missing": ["missing"], "short": ["short"], "corrupt": ["corrupt"], "unexpected": ["unexpected"]}
    assert not caught.value.retryable
    assert seen(batch).state == BatchState.PENDING


def test_a_manifest_that_fits_is_kept(batch):
    send(batch, content=b"content")
    manifest = [{"name": "drive.blf", "size": 7, "sha256": sha256(b"content")}]
    complete_batch(batch.pk, manifest, None, actor=ACTOR)
    assert seen(batch).manifest == manifest


def test_complete_again_with_a_manifest_that_does_not_fit_is_refused_and_changes_nothing(batch):
    file = factories.stored(batch, b"content", "a.log")
    right = [{"name": "a.log", "size": file.size, "sha256": file.sha256}]
    complete_batch(batch.pk, right, actor="test")
    complete_batch(batch.pk, right, actor="test")
    with pytest.raises(FilesPending) as refused:
        complete_batch(batch.pk, [*right, {"name": "b.log", "size": 1}], actor="test")
    assert refused.value.extra["missing"] == ["b.log"]
    assert Batch.objects.get(pk=batch.pk).state == "uploaded"


def test_files_from_before_a_reopen_are_counted_again(vehicle):
    batch = factories.batch(vehicle)
    for number, state in enumerate([FileState.COMPLETED, FileState.COMPLETED, FileState.FAILED]):
        reason = {"error_class": "input", "error_code": "truncated"} if state == FileState.FAILED else {"result_key": "results/x"}
        factories.file(batch, name=str(number), state=state, **reason)
    send(batch, name="new")
    complete_batch(batch.pk, None, None, actor=ACTOR)
    now = seen(batch)
    assert (now.total_files, now.processed_files, now.failed_files) == (4, 2, 1)


def test_fifty_thousand_files_are_completed_with_bounded_queries(batch, django_assert_max_num_queries):
    count = 50_000
    File.objects.bulk_create(
        [File(batch=batch, name=f"{n}.blf", size=n + 1, sha256=f"{n:064x}", storage_key=f"raw/{batch.pk}/{n}") for n in range(count)],
        batch_size=2000,
    )
    Batch.objects.filter(pk=batch.pk).update(total_files=count)
    manifest = [{"name": f"{n}.blf", "size": n + 1, "sha256": f"{n:064x}"} for n in range(count)]
    begun = timezone.now()
    with django_assert_max_num_queries(20):
        complete_batch(batch.pk, manifest, None, actor=ACTOR)
    assert timezone.now() - begun < timedelta(seconds=2)
    assert OrmQ.objects.count() == 1


# -- delete ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", list(BatchState))
def test_deleting_leaves_no_rows_no_objects_and_one_event(batch, state):
    file = send(batch)
    File.objects.filter(pk=file.pk).update(attempt=1)
    storage.write_bytes(f"results/{file.pk}/1/summary.json", b"{}")
    storage.write_bytes(f"results/batches/{batch.pk}/1/statistics.json", b"{}")
    ended = {"completed_at": timezone.now()} if state in {BatchState.COMPLETED, BatchState.FAILED} else {}
    stage = {"failed_stage": "gathering"} if state == BatchState.FAILED else {}
    Batch.objects.filter(pk=batch.pk).update(state=state, **ended, **stage)
    begin = Upload.objects.create(batch=batch, name="late", storage_key=f"raw/{batch.pk}/late", lease_until=timezone.now())

    delete_batch(batch.pk, actor="user:root")

    assert not Batch.objects.exists()
    assert not File.objects.exists()
    assert not Upload.objects.filter(pk=begin.pk).exists()
    assert objects() == []
    (event,) = Event.objects.filter(type=EventType.BATCH_DELETED)
    assert (event.batch_id, event.actor, event.payload["batch_id"], event.payload["files"]) == (None, "user:root", str(batch.pk), 1)
    assert not Event.objects.filter(batch__isnull=False).exists()


def test_deleting_spares_other_batches(batch, vehicle):
    other = open_batch(vehicle, {}, actor=ACTOR)
    kept = send(other)
    send(batch)
    delete_batch(batch.pk, actor=ACTOR)
    assert objects() == [kept.storage_key]
    assert seen(other).total_files == 1


def test_an_unknown_batch_cannot_be_deleted(batch):
    delete_batch(batch.pk, actor=ACTOR)
    with pytest.raises(NotFound):
        delete_batch(batch.pk, actor=ACTOR)


def test_a_delete_that_the_storage_breaks_stops_the_batch_and_is_finished_by_the_next(batch, monkeypatch):
    send(batch)
    complete_batch(batch.pk, None, None, actor=ACTOR)
    fence = seen(batch).fence

    def fail(path):
        raise OSError(5, "no")

    with monkeypatch.context() as patch:
        patch.setattr(storage.local.shutil, "rmtree", fail)
        with pytest.raises(StorageUnavailable):
            delete_batch(batch.pk, actor=ACTOR)
    assert (seen(batch).state, seen(batch).fence) == (BatchState.CANCELLED, fence + 1)
    delete_batch(batch.pk, actor=ACTOR)
    assert objects() == []
    assert not Batch.objects.exists()


def test_an_upload_that_ends_after_the_delete_leaves_nothing(batch):
    def chunks():
        yield b"half"
        delete_batch(batch.pk, actor=ACTOR)
        yield b"other half"

    with pytest.raises((NotFound, UploadLost, StorageUnavailable)):
        take_file(batch.pk, Offer("x"), chunks(), actor=ACTOR)
    assert objects() == []


# -- races -------------------------------------------------------------------------------------------------------------


def together(*calls) -> list:
    """Run calls at the same moment in threads of their own; what each returned or raised."""
    gate = threading.Barrier(len(calls))

    def run(call):
        try:
            gate.wait()
            return call()
        except Exception as error:
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("turn", range(5))
def test_a_file_that_races_complete_is_in_the_batch_or_refused(vehicle, turn):
    batch = open_batch(vehicle, {}, actor=ACTOR)
    send(batch, name="first")
    manifest = [{"name": "first", "size": 7}]
    answers = together(
        lambda: complete_batch(batch.pk, manifest, None, actor=ACTOR),
        *[lambda n=n: send(batch, name=f"late {n}") for n in range(4)],
    )
    now = seen(batch)
    assert now.total_files == File.objects.filter(batch=batch).count() == len(objects())
    assert now.total_bytes == 7 * now.total_files
    assert all(isinstance(answer, (Batch, File, FilesPending)) for answer in answers), answers
    told(batch)


@pytest.mark.django_db(transaction=True)
def test_eight_completes_at_once_are_one(vehicle):
    batch = open_batch(vehicle, {}, actor=ACTOR)
    send(batch)
    answers = together(*[lambda: complete_batch(batch.pk, None, None, actor=ACTOR)] * 8)
    assert [answer.state for answer in answers] == [BatchState.UPLOADED] * 8
    assert OrmQ.objects.count() == 1
    assert told(batch).count(EventType.STATUS_CHANGED) == 1


@pytest.mark.django_db(transaction=True)
def test_one_name_sent_eight_times_at_once_is_one_file(vehicle):
    batch = open_batch(vehicle, {}, actor=ACTOR)
    answers = together(*[lambda: send(batch)] * 8)
    assert len(objects()) == File.objects.count() == seen(batch).total_files == 1
    kept = File.objects.get().pk
    assert all(isinstance(answer, UploadLost) or answer.pk == kept for answer in answers), answers


def test_the_tests_run_on_the_database_that_was_asked_for():
    assert connection.vendor in live_settings.DATABASES["default"]["ENGINE"]
