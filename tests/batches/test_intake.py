"""Batches coming in: what is counted, stored and told at each step, and that races end in one of the allowed ways."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings as live_settings
from django.db import OperationalError, connection, connections
from django.utils import timezone
from django_q.models import OrmQ

from batches.intake import Offer, add_file, begin_upload, complete_batch, delete_batch, open_batch, take_file
from batches.models import Batch, BatchState
from common.errors import (
    BatchClosed,
    BatchEmpty,
    BatchFull,
    DigestMismatch,
    EmptyFile,
    FileExists,
    FilesPending,
    FileTooLarge,
    LengthMismatch,
    NotFound,
    StorageUnavailable,
    UploadLost,
    WrongState,
)
from events.models import Event, EventType
from files import storage, uploads
from files.models import File, FileState, Upload, UploadState
from files.storage import Received
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


def test_a_file_is_stored_counted_and_told(batch):
    file = send(batch, content=b"content", kind="can")
    assert (file.size, file.sha256, file.kind, file.state) == (7, sha256(b"content"), "can", FileState.PENDING)
    assert file.storage_key == f"raw/{batch.pk}/{file.pk}"
    assert storage.read_bytes(file.storage_key, 100) == b"content"
    assert (seen(batch).total_files, seen(batch).total_bytes) == (1, 7)
    assert told(batch) == [EventType.BATCH_OPENED, EventType.FILE_ADDED]
    upload = Upload.objects.get()
    assert (upload.pk, upload.state, upload.offset) == (file.pk, UploadState.FINISHED, 7)


def test_the_name_is_no_part_of_the_key(batch):
    file = send(batch, name="K\u00e4lte (1).blf")
    assert file.storage_key == f"raw/{batch.pk}/{file.pk}"


@pytest.mark.parametrize(
    ("offer", "content", "raised"),
    [
        (Offer("x", size=8), b"content", LengthMismatch),
        (Offer("x", size=6), b"content", LengthMismatch),
        (Offer("x", sha256="0" * 64), b"content", DigestMismatch),
        (Offer("x"), b"", EmptyFile),
        (Offer("x"), b"1234567890+", FileTooLarge),
    ],
)
def test_bytes_that_are_not_as_announced_leave_no_file_and_no_object(batch, settings, offer, content, raised):
    settings.ARGUS_MAX_FILE_BYTES = 10
    with pytest.raises(raised):
        take_file(batch.pk, offer, [content], actor=ACTOR)
    assert not File.objects.exists()
    assert objects() == []
    assert Upload.objects.get().state == UploadState.FAILED
    assert (seen(batch).total_files, seen(batch).total_bytes) == (0, 0)
    assert told(batch) == [EventType.BATCH_OPENED]
    send(batch, name="x", content=b"right")
    assert seen(batch).total_files == 1


@pytest.mark.parametrize(("size", "raised"), [(0, EmptyFile), (11, FileTooLarge)])
def test_what_the_announcement_shows_is_refused_before_the_first_byte(batch, settings, size, raised):
    settings.ARGUS_MAX_FILE_BYTES = 10

    def chunks():
        raise AssertionError("a byte was read")
        yield b""

    with pytest.raises(raised):
        take_file(batch.pk, Offer("x", size=size), chunks(), actor=ACTOR)
    assert not Upload.objects.exists()


def test_a_sender_that_vanishes_leaves_nothing(batch):
    def chunks():
        yield b"half"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        take_file(batch.pk, Offer("x", size=8), chunks(), actor=ACTOR)
    assert objects() == []
    assert Upload.objects.get().state == UploadState.FAILED


def test_a_failing_storage_leaves_an_upload_that_failed_and_may_be_repeated(batch, monkeypatch):
    def fail(*args):
        raise OSError(5, "no")

    with monkeypatch.context() as patch:
        patch.setattr(storage.local.os, "fsync", fail)
        with pytest.raises(StorageUnavailable):
            send(batch)
    assert Upload.objects.get().state == UploadState.FAILED
    assert send(batch).size == 7


def test_the_same_file_again_is_the_same_file(batch):
    first = send(batch)
    file, is_new = take_file(batch.pk, Offer("drive.blf"), [b"content"], actor=ACTOR)
    assert (file.pk, is_new) == (first.pk, False)
    assert objects() == [first.storage_key]
    assert (seen(batch).total_files, seen(batch).total_bytes) == (1, 7)
    assert told(batch).count(EventType.FILE_ADDED) == 1


def test_the_same_file_again_is_known_by_its_digest_without_its_bytes(batch):
    def chunks():
        raise AssertionError("a byte was read")
        yield b""

    first = send(batch)
    file, is_new = take_file(batch.pk, Offer("drive.blf", sha256=sha256(b"content")), chunks(), actor=ACTOR)
    assert (file.pk, is_new) == (first.pk, False)


@pytest.mark.parametrize("digest", ["", sha256(b"other")])
def test_another_file_of_the_same_name_is_refused(batch, digest):
    first = send(batch)
    with pytest.raises(FileExists):
        send(batch, content=b"other", sha256=digest)
    assert objects() == [first.storage_key]
    assert seen(batch).total_files == 1


def test_names_may_be_given_twice_where_they_need_not_be_unique(batch):
    files = [send(batch, content=content, once=False) for content in (b"one", b"two", b"two")]
    assert len({file.pk for file in files}) == 3
    assert seen(batch).total_files == 3


def test_a_superseded_file_does_not_stand_in_the_way_of_its_name(batch):
    old, new = send(batch), send(batch, content=b"new", once=False)
    File.objects.filter(pk=old.pk).update(superseded_by=new)
    with pytest.raises(FileExists):
        send(batch, content=b"content")
    assert send(batch, content=b"new").pk == new.pk


def test_a_full_batch_takes_no_more_and_uploads_on_their_way_count(batch, settings):
    settings.ARGUS_MAX_FILES_PER_BATCH = 2
    send(batch, name="1")
    begun = begin_upload(batch.pk, Offer("2"))
    with pytest.raises(BatchFull):
        begin_upload(batch.pk, Offer("3"))
    uploads.abort(begun)
    send(batch, name="3")


@pytest.mark.parametrize("state", [state for state in BatchState if state not in {BatchState.PENDING, BatchState.UPLOADED}])
def test_a_batch_past_uploaded_takes_no_files(vehicle, state):
    ended = {"completed_at": timezone.now()} if state in {BatchState.COMPLETED, BatchState.FAILED} else {}
    stage = {"failed_stage": "gathering"} if state == BatchState.FAILED else {}
    batch = factories.batch(vehicle, state=state, total_files=1, **ended, **stage)
    with pytest.raises(BatchClosed):
        send(batch)
    assert not Upload.objects.exists()


def test_a_batch_that_closes_while_bytes_come_is_not_added_to(batch):
    send(batch, name="first")

    def chunks():
        yield b"half"
        Batch.objects.filter(pk=batch.pk).update(state=BatchState.SCATTERING)
        yield b"other half"

    with pytest.raises(BatchClosed):
        take_file(batch.pk, Offer("late"), chunks(), actor=ACTOR)
    assert seen(batch).total_files == 1
    assert len(objects()) == 1


def test_files_may_still_come_after_complete_until_the_scatter(batch):
    send(batch, name="1")
    complete_batch(batch.pk, None, None, actor=ACTOR)
    send(batch, name="2")
    assert seen(batch).total_files == 2


# -- leases ------------------------------------------------------------------------------------------------------------


def test_the_lease_is_renewed_while_bytes_come(batch, settings):
    settings.ARGUS_UPLOAD_LEASE_SECONDS = 0.4
    upload = begin_upload(batch.pk, Offer("x"))
    first = Upload.objects.get().lease_until
    offsets = []

    def chunks():
        for _ in range(5):
            threading.Event().wait(0.11)
            yield b"12"
            offsets.append(Upload.objects.get().offset)

    uploads.receive(upload, chunks(), limit=100)
    assert Upload.objects.get().lease_until > first
    assert offsets[-1] > 0


def test_an_upload_that_was_given_up_ends_its_receiver(batch, settings):
    settings.ARGUS_UPLOAD_LEASE_SECONDS = 0.1

    def chunks():
        yield b"half"
        threading.Event().wait(0.2)
        assert uploads.give_up_expired(batch.pk) == 1
        yield b"other half"
        yield b"more"

    with pytest.raises(UploadLost):
        take_file(batch.pk, Offer("x"), chunks(), actor=ACTOR)
    assert objects() == []
    assert not File.objects.exists()


def test_an_upload_given_up_after_its_last_byte_makes_no_file(batch):
    upload = begin_upload(batch.pk, Offer("x"))
    Upload.objects.update(state=UploadState.FAILED)
    with pytest.raises(UploadLost):
        add_file(upload, Received(7, sha256(b"content")), once=True, actor=ACTOR)
    assert seen(batch).total_files == 0


def test_a_repeated_put_ends_the_old_one_that_hangs(batch):
    hanging = begin_upload(batch.pk, Offer("drive.blf"))
    send(batch)
    assert Upload.objects.get(pk=hanging.pk).state == UploadState.FAILED
    complete_batch(batch.pk, None, None, actor=ACTOR)


def test_what_a_killed_receiver_left_is_collected_after_a_day(batch):
    kept = send(batch, name="kept")
    alive, lost, young = (begin_upload(batch.pk, Offer(name)) for name in ("alive", "lost", "young"))
    folder = Path(storage.storages["default"].location) / "raw" / str(batch.pk)
    for upload in (alive, lost, young):
        (folder / f"{upload.pk}.part").write_bytes(b"half")
    day_ago = timezone.now() - timedelta(hours=25)
    Upload.objects.exclude(pk=young.pk).update(created_at=day_ago)
    Upload.objects.filter(pk__in=[lost.pk, young.pk]).update(lease_until=day_ago)

    assert uploads.collect(timedelta(days=1)) == 1
    assert set(objects()) == {kept.storage_key, f"{alive.storage_key}.part", f"{young.storage_key}.part"}
    assert set(Upload.objects.values_list("name", flat=True)) == {"kept", "alive", "young"}
    assert uploads.collect(timedelta(days=1)) == 0


def test_an_error_that_comes_after_the_commit_takes_no_stored_bytes(batch, monkeypatch):
    def commits_and_fails(*args, **kwargs):
        add_file(*args, **kwargs)
        raise OperationalError("the connection was lost while the commit was answered")

    monkeypatch.setattr("batches.intake.add_file", commits_and_fails)
    with pytest.raises(OperationalError):
        send(batch)
    file = File.objects.get(batch=batch)
    assert objects() == [file.storage_key]
    assert storage.read_bytes(file.storage_key, 100) == b"content"


def test_a_sender_that_is_back_after_its_upload_was_collected_makes_no_file(batch):
    upload = begin_upload(batch.pk, Offer("late"))
    day_ago = timezone.now() - timedelta(hours=25)
    Upload.objects.filter(pk=upload.pk).update(created_at=day_ago, lease_until=day_ago)

    def delete(key):
        with pytest.raises(UploadLost):
            add_file(upload, Received(7, sha256(b"content")), once=True, actor=ACTOR)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(storage, "delete", delete)
        assert uploads.collect(timedelta(days=1)) == 1
    assert not File.objects.filter(batch=batch).exists()


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


def test_complete_waits_for_uploads_that_are_alive_and_says_so(batch, settings):
    send(batch, name="1")
    begin_upload(batch.pk, Offer("2"))
    with pytest.raises(FilesPending) as caught:
        complete_batch(batch.pk, None, None, actor=ACTOR)
    assert caught.value.extra["uploading"] == ["2"]
    assert (caught.value.retryable, caught.value.retry_after) == (True, 5)
    Upload.objects.filter(name="2").update(lease_until=timezone.now() - timedelta(hours=1))
    complete_batch(batch.pk, None, None, actor=ACTOR)
    assert Upload.objects.get(name="2").state == UploadState.FAILED


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
