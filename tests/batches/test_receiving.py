"""Files coming into batches: what is stored, counted and told, whichever way they come, and what is left when something goes wrong."""

from __future__ import annotations

import hashlib
import os
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import OperationalError
from django.utils import timezone

from batches import receiving
from batches.intake import abandon_batch, complete_batch, open_batch
from batches.models import Batch, BatchState
from batches.receiving import Offer, add_file, begin_upload, take_file
from common.errors import (
    BatchClosed,
    BatchFull,
    DigestMismatch,
    EmptyFile,
    FileExists,
    FilesPending,
    FileTooLarge,
    LengthMismatch,
    StorageUnavailable,
    UploadExpired,
    UploadLost,
    WrongState,
)
from events.models import Event, EventType
from files import storage, uploads
from files.models import File, FileState, Upload, UploadState, Way
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
    """The types of its events."""
    return list(Event.objects.filter(batch=batch).order_by("seq").values_list("type", flat=True))


def breaking(*chunks: bytes):
    """A sender whose connection breaks after these bytes."""
    yield from chunks
    raise LengthMismatch("The body broke off.")


@pytest.fixture
def batch(vehicle) -> Batch:
    return open_batch(vehicle, {}, actor=ACTOR)


# -- a whole file ------------------------------------------------------------------------------------------------------


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
    ("offer", "content", "raised", "state"),
    [
        (Offer("x", size=6), b"content", FileTooLarge, UploadState.FAILED),
        (Offer("x", sha256="0" * 64), b"content", DigestMismatch, UploadState.FAILED),
        (Offer("x", size=7, sha256="0" * 64), b"content", DigestMismatch, UploadState.OPEN),
        (Offer("x"), b"", EmptyFile, UploadState.FAILED),
        (Offer("x"), b"1234567890+", FileTooLarge, UploadState.FAILED),
        (Offer("x", way=Way.FORM), b"1234567890+", FileTooLarge, UploadState.FAILED),
    ],
)
def test_bytes_that_are_not_as_announced_leave_no_file_and_no_bytes(batch, settings, offer, content, raised, state):
    settings.ARGUS_MAX_FILE_BYTES = 10
    with pytest.raises(raised):
        take_file(batch.pk, offer, [content], actor=ACTOR)
    assert not File.objects.exists()
    assert sum((Path(storage.storages["default"].location) / key).stat().st_size for key in objects()) == 0
    upload = Upload.objects.get()
    assert (upload.state, upload.offset) == (state, 0)
    assert (seen(batch).total_files, seen(batch).total_bytes) == (0, 0)
    assert told(batch) == [EventType.BATCH_OPENED]
    send(batch, name="x", content=b"1234567")
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


def test_a_broken_put_keeps_what_came_and_the_next_one_begins_anew_in_its_place(batch):
    with pytest.raises(LengthMismatch):
        take_file(batch.pk, Offer("x", size=8), breaking(b"half"), actor=ACTOR)
    upload = Upload.objects.get()
    assert (upload.state, upload.offset, upload.way) == (UploadState.OPEN, 4, Way.PUT)
    assert objects() == [f"{upload.storage_key}.part"]
    file = send(batch, "x", b"complete", size=8)
    assert (file.pk, storage.read_bytes(file.storage_key, 9)) == (upload.pk, b"complete")
    assert objects() == [file.storage_key]


def test_a_broken_put_is_gone_on_with_where_it_stopped(batch):
    with pytest.raises(LengthMismatch):
        take_file(batch.pk, Offer("x", size=8), breaking(b"half"), actor=ACTOR)
    upload = Upload.objects.get()
    assert receiving.append(upload, [b"done"], offset=4, actor=ACTOR) == 8
    assert storage.read_bytes(File.objects.get().storage_key, 9) == b"halfdone"


def test_a_broken_put_of_another_length_is_another_file(batch):
    with pytest.raises(LengthMismatch):
        take_file(batch.pk, Offer("x", size=8), breaking(b"half"), actor=ACTOR)
    send(batch, "x", size=7)
    assert {upload.state for upload in Upload.objects.filter(declared_size=8)} == {UploadState.FAILED}  # PUT knows one file of a name


@pytest.mark.parametrize("offer", [Offer("x"), Offer("x", way=Way.FORM)])
def test_what_came_of_a_body_without_a_length_is_removed_when_it_breaks_off(batch, offer):
    with pytest.raises(LengthMismatch):
        take_file(batch.pk, offer, breaking(b"half"), actor=ACTOR)
    assert objects() == []
    assert Upload.objects.get().state == UploadState.FAILED


def test_a_broken_form_leaves_a_declared_file_as_it_was_declared(vehicle):
    batch = open_batch(vehicle, {}, [{"name": "x", "size": 8}], actor=ACTOR)
    with pytest.raises(LengthMismatch):
        take_file(batch.pk, Offer("x", way=Way.FORM), breaking(b"half"), actor=ACTOR)
    upload = Upload.objects.get()
    assert (upload.state, upload.offset) == (UploadState.OPEN, 0)
    assert send(batch, "x", b"complete", way=Way.FORM).pk == upload.pk


def test_a_failing_storage_keeps_the_upload_where_it_was_and_it_may_be_repeated(batch, monkeypatch):
    def fail(*args):
        raise OSError(5, "no")

    with monkeypatch.context() as patch:
        patch.setattr("files.storage.local_part.os.fdatasync", fail)
        with pytest.raises(StorageUnavailable):
            send(batch, size=7)
    assert (Upload.objects.get().state, Upload.objects.get().offset) == (UploadState.OPEN, 0)
    assert send(batch, size=7).size == 7


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
    files = [send(batch, content=content, way=Way.FORM) for content in (b"one", b"two", b"two")]
    assert len({file.pk for file in files}) == 3
    assert seen(batch).total_files == 3


def test_a_superseded_file_does_not_stand_in_the_way_of_its_name(batch):
    old, new = send(batch), send(batch, content=b"new", way=Way.FORM)
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
    receiving.terminate_upload(begun.upload)
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


# -- declared files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [Way.PUT, Way.FORM, Way.TUS])
def test_a_declared_file_comes_under_its_own_id(vehicle, way):
    batch = open_batch(vehicle, {}, [{"name": "x", "size": 7, "sha256": sha256(b"content"), "kind": "can", "priority": 3}], actor=ACTOR)
    declared = Upload.objects.get()
    if way == Way.TUS:
        upload, _ = receiving.create_with_bytes(batch.pk, Offer("x", size=7, way=way), [b"content"], checksum=None, actor=ACTOR)
        assert upload.pk == declared.pk
    else:
        send(batch, "x", way=way)
    file = File.objects.get()
    assert (file.pk, file.kind) == (declared.pk, "can")


@pytest.mark.parametrize("offer", [{"size": 6}, {"size": 7, "sha256": "0" * 64}])
def test_another_file_of_a_declared_name_is_not_taken_for_it(vehicle, offer):
    batch = open_batch(vehicle, {}, [{"name": "x", "size": 7, "sha256": sha256(b"content")}], actor=ACTOR)
    assert begin_upload(batch.pk, Offer("x", way=Way.TUS, **offer)).is_new


def test_declared_bytes_are_held_against_the_declaration(vehicle):
    batch = open_batch(vehicle, {}, [{"name": "x", "size": 7, "sha256": sha256(b"content")}], actor=ACTOR)
    with pytest.raises(DigestMismatch):
        send(batch, "x", b"CONTENT", size=7)
    upload = Upload.objects.get()
    assert (upload.state, upload.offset, upload.error_code) == (UploadState.OPEN, 0, "digest_mismatch")
    send(batch, "x", size=7)
    assert Upload.objects.get().error_code == ""


# -- duplicates --------------------------------------------------------------------------------------------------------


def test_the_same_bytes_of_the_same_vehicle_are_kept_and_linked_to_the_oldest(batch, vehicle):
    first = send(batch, "a")
    other = open_batch(vehicle, {}, actor=ACTOR)
    second, third = send(other, "b"), send(other, "c")
    assert [file.duplicate_of_id for file in (first, second, third)] == [None, first.pk, first.pk]
    payload = Event.objects.get(batch=other, payload__file_id=str(third.pk)).payload
    assert (payload["duplicate_of"], payload["original_batch"]) == (str(first.pk), str(batch.pk))
    assert "SHA-256" in payload["duplicate_why"]
    assert storage.read_bytes(third.storage_key, 9) == b"content"


def test_the_same_bytes_of_another_vehicle_are_no_duplicate(batch):
    send(batch, "a")
    other = open_batch(factories.vehicle(), {}, actor=ACTOR)
    assert send(other, "a").duplicate_of is None


# -- resumed -----------------------------------------------------------------------------------------------------------


def half_sent(batch: Batch, **offer) -> Upload:
    """A tus upload of `content` of which three bytes have come."""
    upload = begin_upload(batch.pk, Offer("x", size=7, way=Way.TUS, **offer)).upload
    assert receiving.append(upload, [b"con"], offset=0, actor=ACTOR) == 3
    return upload


def test_a_sender_without_memory_goes_on_when_the_digest_proves_that_it_is_the_same_file(batch):
    upload = half_sent(batch, sha256=sha256(b"content"))
    begun = begin_upload(batch.pk, Offer("x", size=7, sha256=sha256(b"content"), way=Way.TUS))
    assert (begun.upload.pk, receiving.resume(begun, actor=ACTOR)) == (upload.pk, 3)


def test_without_a_digest_it_begins_anew_lest_two_files_become_one(batch):
    upload = half_sent(batch)
    begun = begin_upload(batch.pk, Offer("x", size=7, way=Way.TUS))
    assert (begun.upload.pk, receiving.resume(begun, actor=ACTOR)) == (upload.pk, 0)
    assert Upload.objects.get().offset == 0
    assert receiving.append(upload, [b"CONTENT"], offset=0, actor=ACTOR) == 7
    assert File.objects.get().sha256 == sha256(b"CONTENT")


def test_a_finished_upload_is_found_again_by_its_digest(batch):
    file = send(batch, "x", size=7, sha256=sha256(b"content"))
    begun = begin_upload(batch.pk, Offer("x", size=7, sha256=sha256(b"content"), way=Way.TUS))
    assert (begun.upload.pk, receiving.resume(begun, actor=ACTOR)) == (file.pk, 7)
    assert receiving.append(begun.upload, [], offset=7, actor=ACTOR) == 7


# -- ended -------------------------------------------------------------------------------------------------------------


def test_a_terminated_upload_is_gone_with_its_bytes(batch):
    upload = half_sent(batch)
    receiving.terminate_upload(upload)
    assert objects() == []
    with pytest.raises(UploadExpired):
        receiving.append(upload, [b"tent"], offset=3, actor=ACTOR)
    with pytest.raises(UploadExpired):
        receiving.offset_of(Upload.objects.get(), actor=ACTOR)
    with pytest.raises(UploadExpired):
        receiving.terminate_upload(upload)


def test_a_finished_upload_cannot_be_terminated(batch):
    file = send(batch)
    with pytest.raises(WrongState):
        receiving.terminate_upload(Upload.objects.get())
    assert objects() == [file.storage_key]


def test_an_upload_terminated_while_bytes_come_leaves_nothing(batch):
    upload = begin_upload(batch.pk, Offer("x", size=7, way=Way.TUS)).upload

    def chunks():
        yield b"con"
        receiving.terminate_upload(Upload.objects.get())
        yield b"tent"

    with pytest.raises(UploadLost):
        receiving.append(upload, chunks(), offset=0, actor=ACTOR)
    assert objects() == []
    assert not File.objects.exists()


def test_an_upload_of_an_abandoned_batch_ends(batch):
    upload = half_sent(batch)
    abandon_batch(batch.pk, actor=ACTOR)
    with pytest.raises(UploadExpired):
        receiving.append(upload, [b"tent"], offset=3, actor=ACTOR)


def test_a_batch_that_closes_before_the_last_byte_takes_no_file_of_it(batch):
    upload = half_sent(batch)
    Batch.objects.filter(pk=batch.pk).update(state=BatchState.SCATTERING, total_files=1)
    with pytest.raises(BatchClosed):
        receiving.append(upload, [b"tent"], offset=3, actor=ACTOR)
    assert objects() == []
    assert Upload.objects.get().state == UploadState.FAILED


def test_complete_waits_for_what_was_begun(batch):
    send(batch, "first")
    upload = half_sent(batch)
    with pytest.raises(FilesPending):
        complete_batch(batch.pk, None, actor=ACTOR)
    receiving.append(upload, [b"tent"], offset=3, actor=ACTOR)
    complete_batch(batch.pk, None, actor=ACTOR)


# -- crashes -----------------------------------------------------------------------------------------------------------


def test_an_error_that_comes_after_the_commit_takes_no_stored_bytes(batch, monkeypatch):
    def commits_and_fails(*args, **kwargs):
        add_file(*args, **kwargs)
        raise OperationalError("the connection was lost while the commit was answered")

    monkeypatch.setattr("batches.receiving.add_file", commits_and_fails)
    with pytest.raises(OperationalError):
        send(batch)
    file = File.objects.get(batch=batch)
    assert objects() == [file.storage_key]
    assert storage.read_bytes(file.storage_key, 100) == b"content"


@pytest.mark.parametrize("repaired_by", ["sweep", "head", "patch"])
def test_a_file_whose_commit_failed_is_made_by_whoever_comes_next(batch, monkeypatch, repaired_by):
    def fails(*args, **kwargs):
        raise OperationalError("no")

    upload = half_sent(batch)
    with monkeypatch.context() as patch:
        patch.setattr("batches.receiving.add_file", fails)
        with pytest.raises(OperationalError):
            receiving.append(upload, [b"tent"], offset=3, actor=ACTOR)
    assert objects() == [upload.storage_key]
    assert not File.objects.exists()
    if repaired_by == "sweep":
        assert uploads.left_whole() == [upload.pk]
        receiving.finish_upload(upload.pk)
        assert uploads.left_whole() == []
    elif repaired_by == "head":
        assert receiving.offset_of(Upload.objects.get(), actor=ACTOR) == 7
    else:
        assert receiving.append(upload, [], offset=7, actor=ACTOR) == 7
    file = File.objects.get()
    assert (file.pk, file.sha256, objects()) == (upload.pk, sha256(b"content"), [upload.storage_key])
    assert seen(batch).total_files == 1
    assert receiving.finish_upload(upload.pk) == file


def test_an_upload_given_up_after_its_last_byte_makes_no_file(batch):
    upload = begin_upload(batch.pk, Offer("x")).upload
    Upload.objects.update(state=UploadState.FAILED)
    with pytest.raises(UploadLost):
        add_file(upload, Received(7, sha256(b"content")), actor=ACTOR)
    assert seen(batch).total_files == 0


# -- time --------------------------------------------------------------------------------------------------------------


def test_an_upload_that_nobody_touches_for_a_week_expires(batch):
    upload, young = half_sent(batch), begin_upload(batch.pk, Offer("young", way=Way.TUS)).upload
    Upload.objects.filter(pk=upload.pk).update(touched_at=timezone.now() - timedelta(days=7, minutes=1))
    Upload.objects.filter(pk=young.pk).update(touched_at=timezone.now() - timedelta(days=6, hours=23))
    assert uploads.expire() == 1
    assert objects() == []
    with pytest.raises(UploadExpired):
        receiving.append(upload, [b"tent"], offset=3, actor=ACTOR)
    assert Upload.objects.get(pk=young.pk).state == UploadState.OPEN


def test_bytes_that_could_not_be_removed_at_once_are_removed_later(batch, monkeypatch):
    upload = half_sent(batch)

    def fail(*args):
        raise StorageUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(storage, "discard_part", fail)
        receiving.terminate_upload(upload)
        with pytest.raises(StorageUnavailable):
            uploads.collect()
    assert objects() == [f"{upload.storage_key}.part"]
    assert uploads.collect() == 1
    assert objects() == []
    assert uploads.collect() == 0


def test_rows_are_forgotten_after_a_month_and_the_files_stay(batch):
    file = send(batch)
    receiving.terminate_upload(half_sent(batch))
    Upload.objects.update(touched_at=timezone.now() - timedelta(days=31))
    assert uploads.collect() == 2
    assert not Upload.objects.exists()
    assert objects() == [file.storage_key]


def test_old_bytes_of_no_upload_are_removed_and_those_of_one_stay(batch):
    upload = half_sent(batch)
    root = Path(storage.storages["default"].location)
    stray, young = (
        root / f"raw/{batch.pk}/{name}.part" for name in ("11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222")
    )
    for path in (stray, young):
        path.write_bytes(b"half")
    old = timezone.now().timestamp() - 25 * 3600
    for path in (stray, root / f"{upload.storage_key}.part"):
        os.utime(path, (old, old))
    assert uploads.collect_strays() == 1
    assert sorted(objects()) == sorted([f"{upload.storage_key}.part", young.relative_to(root).as_posix()])
