"""Parse: each kind of file ends as it should, and a bad one takes neither its batch nor the worker down."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from batches.models import Batch
from events.models import Event, EventType
from files import storage
from files.models import File
from tests import factories
from tests.queue import drain, skip_delays, waiting

pytestmark = pytest.mark.django_db

BAD = {
    "garbage.blf": (b"\x00\x01\x02garbage" * 100, "unknown_format"),
    "report.pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj << /Type /Catalog >> endobj\n" * 4, "unknown_format"),
    "renamed.blf": (b"PK\x03\x04" + b"\x00" * 200, "unknown_format"),
    "cut.blf": (b"LOGG\x90\x00\x00\x00", "truncated"),
}


def only_file(batch: Batch) -> File:
    return File.objects.current().get(batch=batch)


@pytest.mark.parametrize(("name", "content", "code"), [(name, *rest) for name, rest in BAD.items()], ids=BAD)
def test_a_file_that_is_no_log_fails_with_its_reason_and_its_batch_at_the_barrier(name, content, code):
    batch = factories.uploaded({name: content})
    drain()
    file, batch = only_file(batch), Batch.objects.get(pk=batch.pk)
    assert (file.state, file.error_class, file.error_code) == ("failed", "input", code)
    assert file.error
    assert (batch.state, batch.error_code, batch.failed_files) == ("failed", "no_file_readable", 1)
    assert storage.read_bytes(file.storage_key, 2**20) == content


def test_one_bad_file_among_good_ones_ends_completed_with_issues():
    batch = factories.uploaded({"a.log": factories.CANDUMP, "b.blf": BAD["garbage.blf"][0], "c.log": factories.CANDUMP})
    drain()
    batch = Batch.objects.get(pk=batch.pk)
    assert (batch.state, batch.processed_files, batch.failed_files, batch.has_issues) == ("completed", 2, 1, True)
    assert batch.worst_severity != "ok"


def test_the_suffix_does_not_decide():
    batch = factories.uploaded({"really-candump.blf": factories.CANDUMP})
    drain()
    assert only_file(batch).format == "candump"


def test_every_task_twice_gives_the_same_end():
    batch = factories.uploaded({"a.log": factories.CANDUMP, "b.blf": BAD["garbage.blf"][0]})
    drain(times=2)
    batch = Batch.objects.get(pk=batch.pk)
    assert (batch.state, batch.processed_files, batch.failed_files) == ("completed", 1, 1)
    assert sorted(batch.files.values_list("attempt", flat=True)) == [1, 1]
    assert batch.events.filter(type="GatheringCompleted").count() == 1
    assert batch.events.filter(type="DiagnosisCompleted").count() == 1


def test_a_missing_object_is_final_and_says_so():
    batch = factories.uploaded({"a.log": factories.CANDUMP})
    storage.delete(only_file(batch).storage_key)
    drain()
    assert only_file(batch).error_code == "object_missing"


def test_storage_that_does_not_answer_is_tried_again_and_not_counted(monkeypatch):
    from common.errors import StorageUnavailable

    batch = factories.uploaded({"a.log": factories.CANDUMP})

    def away(key):
        raise StorageUnavailable

    with monkeypatch.context() as patched:
        patched.setattr(storage, "open_fd", away)
        drain()
    file = only_file(batch)
    assert (file.state, file.crash_count, file.attempt) == ("parsing", 0, 1)
    assert waiting() == [("parse", str(file.pk))]
    skip_delays()
    drain()
    assert Batch.objects.get(pk=batch.pk).state == "completed"


@pytest.mark.parametrize(
    ("kind", "sentence"), [("signal", "crashed"), ("memory", "memory"), ("cpu", "computing time"), ("stall", "no progress")]
)
def test_a_child_that_dies_is_tried_three_times_and_then_the_file_fails(monkeypatch, kind, sentence):
    from files import parsing
    from parsers import sandbox

    batch = factories.uploaded({"a.log": factories.CANDUMP})
    monkeypatch.setattr(sandbox, "run", lambda *_: sandbox.Crashed(kind, "as the test wants"))
    for _ in range(parsing.MAX_CRASHES):
        drain()
        skip_delays()
    file = only_file(batch)
    assert (file.state, file.error_class, file.error_code, file.attempt) == ("failed", "crash", f"parser_{kind}", 3)
    assert sentence in file.error


@pytest.mark.parametrize(("kind", "sentence"), [("plugin", "added to this installation"), ("start", "could not be started")])
def test_a_parser_that_cannot_be_started_costs_no_file(monkeypatch, kind, sentence):
    from files import parsing
    from parsers import sandbox

    batch = factories.uploaded({"a.log": factories.CANDUMP})
    with monkeypatch.context() as patched:
        patched.setattr(sandbox, "run", lambda *_: sandbox.Crashed(kind, "parser 'x' of y: ImportError"))
        for _ in range(parsing.MAX_CRASHES + 1):
            drain()
            skip_delays()
    released = Event.objects.filter(batch=batch, type=EventType.FILE_RELEASED)
    assert only_file(batch).crash_count == 0
    assert all(sentence in event.payload["reason"] and event.payload["code"] == f"parser_{kind}" for event in released)
    drain()
    assert Batch.objects.get(pk=batch.pk).state == "completed"


def test_the_output_of_an_attempt_lies_under_its_own_fence():
    batch = factories.uploaded({"a.log": factories.CANDUMP})
    drain()
    file = only_file(batch)
    assert file.result_key == f"results/{file.pk}/{file.fence}"
    assert storage.exists(f"{file.result_key}/summary.json")


def test_a_doorbell_that_rings_too_early_is_rung_again_when_the_file_is_due():
    batch = factories.uploaded({"a.log": factories.CANDUMP})
    File.objects.filter(batch=batch).update(next_attempt_at=timezone.now() + timedelta(minutes=5))
    drain()
    assert only_file(batch).state == "pending"
    assert waiting() == [("parse", str(only_file(batch).pk))]
    skip_delays()
    drain()
    assert Batch.objects.get(pk=batch.pk).state == "completed"


def test_a_worker_without_room_for_its_own_files_is_no_crash_of_the_file(monkeypatch):
    batch = factories.uploaded({"a.log": factories.CANDUMP})

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device", "/private/folder")

    with monkeypatch.context() as patched:
        patched.setattr("files.parsing.tempfile.TemporaryDirectory", full)
        drain()
    assert (only_file(batch).state, only_file(batch).crash_count) == ("parsing", 0)
    told = batch.events.get(type="FileReleased").payload
    assert told["code"] == "worker_trouble"
    assert "private" not in str(told)
    skip_delays()
    drain()
    assert Batch.objects.get(pk=batch.pk).state == "completed"
