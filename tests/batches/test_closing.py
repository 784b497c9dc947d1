"""Batches that stop taking files: nothing that is on its way is passed over, and what will not come does not stay open for ever."""

from __future__ import annotations

import hashlib
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from django_q.models import OrmQ

from batches.closing import abandon_batch, abandon_silent, complete_batch, discard_ended
from batches.models import Batch, BatchState
from batches.opening import open_batch
from batches.receiving import Offer, begin_upload, take_file
from batches.retrigger import reopen
from batches.sweep import sweep
from common.errors import BatchClosed, BatchEmpty, FilesPending, StorageUnavailable, UploadLost, WrongState
from events.models import Event, EventType
from files import storage, uploads
from files.models import File, Upload, UploadState, Way
from tests import factories

ACTOR = "vehicle:test"
pytestmark = pytest.mark.django_db
NOW = timezone.now()


def objects() -> list[str]:
    """Everything in the store."""
    root = Path(storage.storages["default"].location)
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def declared(vehicle, *names: str, **more) -> Batch:
    """A batch that was opened with these files, seven bytes each."""
    return open_batch(vehicle, {}, [{"name": name, "size": 7, **more} for name in names], actor=ACTOR)


def send(batch: Batch, name: str, content: bytes = b"content", **offer) -> File:
    return take_file(batch.pk, Offer(name, size=len(content), **offer), [content], actor=ACTOR)[0]


def complete(batch: Batch, manifest=None) -> Batch:
    return complete_batch(batch.pk, manifest, actor=ACTOR)


def pending(batch: Batch, manifest=None) -> FilesPending:
    """What complete is refused with."""
    with pytest.raises(FilesPending) as caught:
        complete(batch, manifest)
    assert Batch.objects.get(pk=batch.pk).state == BatchState.PENDING
    assert OrmQ.objects.count() == 0
    return caught.value


def listed(error: FilesPending) -> dict[str, list[str]]:
    """The kinds that have names."""
    counts = error.extra["counts"]
    found = {kind: error.extra[kind] for kind in counts if error.extra[kind]}
    assert {kind: len(names) for kind, names in found.items()} == {kind: count for kind, count in counts.items() if count}
    return found


def an_upload(batch: Batch, name: str, **fields) -> Upload:
    upload = Upload(batch=batch, name=name, **fields)
    upload.storage_key = uploads.raw_key(batch.pk, upload.pk)
    upload.save()
    return upload


ALIVE = {"lease_until": NOW + timedelta(hours=1)}


# -- complete ----------------------------------------------------------------------------------------------------------


def test_what_was_announced_and_came_is_complete_without_saying_it_again(vehicle):
    batch = declared(vehicle, "a", "b", sha256=sha256(b"content"))
    for name in ("a", "b"):
        send(batch, name)
    assert complete(batch).state == BatchState.UPLOADED
    assert [entry["name"] for entry in Batch.objects.get().manifest] == ["a", "b"]


def test_what_was_announced_and_did_not_come_is_missing(vehicle):
    batch = declared(vehicle, "a", "b")
    send(batch, "a")
    error = pending(batch)
    assert listed(error) == {"missing": ["b"]}
    assert not error.retryable


def test_a_batch_of_which_nothing_came_is_not_empty_but_missing(vehicle):
    assert listed(pending(declared(vehicle, "a"))) == {"missing": ["a"]}
    with pytest.raises(BatchEmpty):
        complete(declared(vehicle))


def test_a_file_that_was_not_announced_is_unexpected_until_complete_announces_it(vehicle):
    batch = declared(vehicle, "a")
    send(batch, "a")
    send(batch, "b")
    assert listed(pending(batch)) == {"unexpected": ["b"]}
    manifest = [{"name": name, "size": 7} for name in ("a", "b")]
    complete(batch, manifest)
    assert Batch.objects.get().manifest == manifest


def test_the_list_at_complete_is_the_one_that_counts(vehicle):
    batch = declared(vehicle, "a")
    send(batch, "a")
    assert listed(pending(batch, [{"name": "a", "size": 7}, {"name": "c", "size": 1}])) == {"missing": ["c"]}
    assert listed(pending(batch, [{"name": "a", "size": 9}])) == {"short": ["a"]}


def test_an_announced_upload_is_not_forgotten_because_complete_leaves_it_out(vehicle):
    batch = declared(vehicle, "a", "b")
    send(batch, "a")
    manifest = [{"name": "a", "size": 7}]
    assert listed(pending(batch, manifest)) == {"missing": ["b"]}
    uploads.end(uploads.coming(batch.pk))
    assert listed(pending(batch)) == {"missing": ["b"]}
    assert complete(batch, manifest).state == BatchState.UPLOADED


@pytest.mark.parametrize(
    ("fields", "kind", "retryable"),
    [
        ({}, "uploading", False),
        ({"offset": 3}, "uploading", False),
        ({"declared": True, "offset": 3}, "uploading", False),
        ({"declared": True, **ALIVE}, "uploading", True),
        (ALIVE, "uploading", True),
        ({"way": Way.FORM, **ALIVE}, "uploading", True),
        ({"state": UploadState.VERIFYING, "offset": 7}, "verifying", True),
        ({"declared": True}, "missing", False),
        ({"error_code": "digest_mismatch"}, "corrupt", False),
        ({"declared": True, "error_code": "digest_mismatch"}, "corrupt", False),
        ({"declared": True, "error_code": "digest_mismatch", **ALIVE}, "uploading", True),
        ({"error_code": "digest_mismatch", "offset": 2}, "uploading", False),
    ],
)
@pytest.mark.parametrize("announced", [True, False])
def test_an_upload_that_is_not_finished_is_never_passed_over(vehicle, fields, kind, retryable, announced):
    batch = factories.batch(vehicle)
    send(batch, "here")
    an_upload(batch, "coming", declared_size=7, **fields)
    manifest = [{"name": "here", "size": 7}, {"name": "coming", "size": 7}] if announced else None
    error = pending(batch, manifest)
    assert listed(error) == {kind: ["coming"]}
    assert (error.retryable, error.retry_after) == ((True, 5) if retryable else (False, None))


def test_waiting_does_not_help_when_something_else_is_wrong(vehicle):
    batch = factories.batch(vehicle)
    send(batch, "a")
    an_upload(batch, "b", **ALIVE)
    error = pending(batch, [{"name": "a", "size": 7}, {"name": "b", "size": 7}, {"name": "c", "size": 7}])
    assert (listed(error), error.retryable) == ({"uploading": ["b"], "missing": ["c"]}, False)
    an_upload(batch, "d", offset=1)
    assert listed(pending(batch)) == {"uploading": ["b", "d"]}
    assert not pending(batch).retryable


@pytest.mark.parametrize("state", [UploadState.FAILED, UploadState.EXPIRED])
def test_an_upload_that_has_ended_holds_nothing_up_but_its_file_is_missing(vehicle, state):
    batch = declared(vehicle, "a", "b")
    send(batch, "a")
    Upload.objects.filter(name="b").update(state=state)
    assert listed(pending(batch)) == {"missing": ["b"]}
    assert complete(batch, [{"name": "a", "size": 7}]).state == BatchState.UPLOADED


def test_what_a_killed_receiver_left_of_a_form_holds_nothing_up(vehicle):
    batch = factories.batch(vehicle)
    send(batch, "a")
    left = an_upload(batch, "b", way=Way.FORM, lease_until=NOW - timedelta(seconds=1))
    assert complete(batch).state == BatchState.UPLOADED
    left.refresh_from_db()
    assert left.state == UploadState.FAILED


def test_a_form_left_by_a_killed_receiver_is_missing_if_it_was_announced(vehicle):
    batch = factories.batch(vehicle)
    send(batch, "a")
    an_upload(batch, "b", way=Way.FORM, lease_until=NOW - timedelta(seconds=1))
    assert listed(pending(batch, [{"name": "a", "size": 7}, {"name": "b", "size": 7}])) == {"missing": ["b"]}


def test_two_files_of_one_name_are_told_apart(vehicle):
    batch = declared(vehicle, "a", "a", "a")
    send(batch, "a")
    an_upload(batch, "a", offset=1)
    Upload.objects.filter(declared=True, state=UploadState.OPEN).update(state=UploadState.FAILED)
    assert listed(pending(batch)) == {"uploading": ["a"], "missing": ["a"]}


def test_a_hundred_names_are_listed_and_all_are_counted(vehicle):
    error = pending(declared(vehicle, *(f"{n:03}" for n in range(250))))
    assert error.extra["missing"] == [f"{n:03}" for n in range(100)]
    assert error.extra["counts"]["missing"] == 250


def test_after_a_reopen_the_first_list_counts_no_more(vehicle):
    batch = declared(vehicle, "a")
    send(batch, "a")
    complete(batch)
    Batch.objects.update(state=BatchState.COMPLETED, completed_at=NOW)
    OrmQ.objects.all().delete()
    reopen(batch.pk, actor="user:x", seen_fence=Batch.objects.get().fence)
    send(batch, "b")
    assert complete(batch).state == BatchState.UPLOADED


def test_fifty_thousand_files_are_completed_in_two_seconds(vehicle, django_assert_max_num_queries):
    count = 50_000
    batch = open_batch(vehicle, {}, [{"name": f"{n:05}", "size": 7, "sha256": f"{n:064x}"} for n in range(count)], actor=ACTOR)
    rows = Upload.objects.filter(batch=batch).values_list("pk", "name", "declared_sha256", "storage_key")
    File.objects.bulk_create([File(id=pk, batch=batch, name=name, size=7, sha256=sha, storage_key=key) for pk, name, sha, key in rows])
    Upload.objects.update(state=UploadState.FINISHED)
    Batch.objects.update(total_files=count)
    begun = time.process_time()
    with django_assert_max_num_queries(16):
        complete(batch)
    assert time.process_time() - begun < 2
    assert OrmQ.objects.count() == 1


# -- abandon -----------------------------------------------------------------------------------------------------------


def test_abandon_ends_what_is_on_its_way_and_keeps_what_is_stored(vehicle):
    batch = declared(vehicle, "never", "begun")
    stored = send(batch, "stored")
    upload = Upload.objects.get(name="begun")
    with uploads.writing(upload, way=Way.TUS) as writer:
        writer.receive([b"con"], offset=0)
    assert len(objects()) == 2
    assert abandon_batch(batch.pk, "disk lost", actor=ACTOR).state == BatchState.ABANDONED
    discard_ended(batch.pk)
    assert objects() == [stored.storage_key]
    ended = Upload.objects.exclude(name="stored")
    assert set(ended.values_list("state", "storage_key")) == {(UploadState.FAILED, "")}
    event = Event.objects.get(type=EventType.STATUS_CHANGED)
    assert (event.payload, event.actor) == ({"old_status": "pending", "new_status": "abandoned", "reason": "disk lost"}, ACTOR)
    with pytest.raises(BatchClosed):
        begin_upload(batch.pk, Offer("late", size=7))


def test_abandon_again_changes_nothing(vehicle):
    batch = declared(vehicle, "a")
    for _ in range(2):
        abandon_batch(batch.pk, actor=ACTOR)
        discard_ended(batch.pk)
    assert Event.objects.filter(type=EventType.STATUS_CHANGED).count() == 1


@pytest.mark.parametrize("state", [state for state in BatchState if state not in {BatchState.PENDING, BatchState.ABANDONED}])
def test_past_pending_nothing_is_abandoned(vehicle, state):
    ended = {"completed_at": NOW} if state in {BatchState.COMPLETED, BatchState.FAILED} else {}
    stage = {"failed_stage": "gathering"} if state == BatchState.FAILED else {}
    batch = factories.batch(vehicle, state=state, total_files=1, **ended, **stage)
    with pytest.raises(WrongState):
        abandon_batch(batch.pk, actor=ACTOR)


def test_a_sender_whose_batch_is_abandoned_is_told_and_leaves_nothing(vehicle):
    batch = factories.batch(vehicle)

    def chunks():
        yield b"con"
        abandon_batch(batch.pk, actor=ACTOR)
        discard_ended(batch.pk)
        yield b"tent"

    with pytest.raises((UploadLost, BatchClosed)):
        take_file(batch.pk, Offer("a", size=7), chunks(), actor=ACTOR)
    sweep()
    assert objects() == []
    assert not File.objects.exists()


def test_a_storage_that_fails_leaves_the_bytes_to_the_sweep(vehicle, monkeypatch):
    batch = declared(vehicle, "begun")
    with uploads.writing(Upload.objects.get(), way=Way.TUS) as writer:
        writer.receive([b"con"], offset=0)
    abandon_batch(batch.pk, actor=ACTOR)

    def fail(*args):
        raise StorageUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(storage, "discard_part", fail)
        discard_ended(batch.pk)
    assert len(objects()) == 1
    sweep()
    assert objects() == []


# -- the deadline ------------------------------------------------------------------------------------------------------


def age(days: float, **fields) -> None:
    """Make everything so old."""
    then = timezone.now() - timedelta(days=days)
    Batch.objects.update(created_at=then, state_changed_at=then)
    Upload.objects.update(created_at=then, touched_at=then, **fields)
    File.objects.update(created_at=then)


def test_a_batch_that_nothing_came_for_in_thirty_days_is_abandoned(vehicle):
    batch = declared(vehicle, "a")
    age(29)
    assert abandon_silent() == 0
    age(31)
    assert abandon_silent() == 1
    assert abandon_silent() == 0
    assert Batch.objects.get().state == BatchState.ABANDONED
    assert Upload.objects.get().state == UploadState.FAILED
    event = Event.objects.get(batch=batch, type=EventType.STATUS_CHANGED)
    assert (event.actor, event.payload["reason"]) == ("argus", "nothing came for 30 days")


def test_the_sweep_does_it(vehicle):
    declared(vehicle, "a")
    age(31)
    sweep()
    assert Batch.objects.get().state == BatchState.ABANDONED


def test_how_long_is_a_setting(vehicle, settings):
    settings.ARGUS_BATCH_DEADLINE_DAYS = 60
    declared(vehicle)
    age(59)
    assert abandon_silent() == 0
    age(61)
    assert abandon_silent() == 1


@pytest.mark.parametrize("sign", ["upload touched", "sender alive", "file came", "upload expired"])
def test_a_sign_of_the_vehicle_keeps_it(vehicle, sign):
    batch = declared(vehicle, "a", "b")
    send(batch, "b")
    age(31)
    recent = timezone.now() - timedelta(days=29)
    if sign == "upload touched":
        Upload.objects.filter(name="a").update(touched_at=recent)
    elif sign == "sender alive":
        Upload.objects.filter(name="a").update(**ALIVE)
    elif sign == "file came":
        File.objects.update(created_at=recent)
    else:  # seven days after the last byte
        Upload.objects.filter(name="a").update(state=UploadState.EXPIRED, touched_at=recent + timedelta(days=7))
    assert abandon_silent() == 0


def test_an_upload_that_expired_is_no_sign_of_the_vehicle(vehicle):
    declared(vehicle, "a")
    age(31)
    Upload.objects.update(state=UploadState.EXPIRED, touched_at=timezone.now() - timedelta(days=31 - 7))
    assert abandon_silent() == 1


def test_a_reopened_batch_has_results_and_is_left_alone(vehicle):
    factories.batch(vehicle, fence=2)
    age(400)
    assert abandon_silent() == 0


@pytest.mark.parametrize("state", [BatchState.UPLOADED, BatchState.SCATTERING])
def test_a_batch_past_pending_is_left_alone(vehicle, state):
    factories.batch(vehicle, state=state, total_files=1)
    age(400)
    assert abandon_silent() == 0


def test_a_hundred_silent_batches_take_a_few_queries_each(vehicle, django_assert_max_num_queries):
    for _ in range(20):
        declared(vehicle, "a", "b", "c")
    age(31)
    with django_assert_max_num_queries(20 * 14 + 1):
        assert abandon_silent() == 20
