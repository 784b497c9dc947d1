"""What ops do again runs exactly what was asked for, once."""

from __future__ import annotations

import pytest

from batches import retrigger
from batches.intake import complete_batch
from batches.models import Batch
from common.errors import NothingSelected, WrongState
from files import storage
from files.models import File
from tests import factories
from tests.queue import drain, waiting
from vehicles.models import Fleet

pytestmark = pytest.mark.django_db
GARBAGE = b"\x00\x01\x02garbage" * 100


def again(batch: Batch) -> Batch:
    return Batch.objects.get(pk=batch.pk)


def with_issues(**vehicle_fields) -> Batch:
    batch = factories.uploaded({"good.log": factories.CANDUMP, "bad.log": GARBAGE}, factories.vehicle(**vehicle_fields))
    drain()
    return again(batch)


def repair(batch: Batch) -> None:
    """Whatever was wrong with the stored object is mended."""
    bad = File.objects.current().get(batch=batch, name="bad.log")
    storage.delete(bad.storage_key)
    storage.write_bytes(bad.storage_key, factories.CANDUMP)


def test_retrying_failed_files_leaves_the_others_alone():
    batch = with_issues()
    good = File.objects.get(batch=batch, name="good.log")
    repair(batch)
    retrigger.retry_failed_files(batch.pk, actor="user:ops", seen_fence=batch.fence, reason="mended")
    drain()
    batch = again(batch)
    assert (batch.state, batch.total_files, batch.processed_files, batch.failed_files) == ("completed", 2, 2, 0)
    assert File.objects.get(pk=good.pk).attempt == 1
    old, new = File.objects.filter(batch=batch, name="bad.log").order_by("created_at")
    assert (old.state, old.superseded_by, new.state) == ("failed", new, "completed")
    asked = batch.events.get(type="RetryRequested")
    assert (asked.actor, asked.payload["reason"], asked.payload["files"]) == ("user:ops", "mended", [str(old.pk)])


def test_a_double_click_makes_one_retry():
    batch = with_issues()
    seen = batch.fence
    retrigger.retry_failed_files(batch.pk, actor="a", seen_fence=seen)
    with pytest.raises(retrigger.SomebodyElseActed):
        retrigger.retry_failed_files(batch.pk, actor="b", seen_fence=seen)
    assert File.objects.filter(batch=batch).count() == 3
    assert waiting().count(("scatter", str(batch.pk))) == 1


def test_nothing_failed_is_nothing_to_retry():
    batch = factories.uploaded({"good.log": factories.CANDUMP})
    drain()
    batch = again(batch)
    with pytest.raises(NothingSelected):
        retrigger.retry_failed_files(batch.pk, actor="a", seen_fence=batch.fence)
    assert again(batch).state == "completed"


def test_reprocess_parses_every_file_again():
    batch = with_issues()
    retrigger.reprocess(batch.pk, actor="a", seen_fence=batch.fence)
    assert (again(batch).processed_files, again(batch).failed_files) == (0, 0)
    drain()
    batch = again(batch)
    assert (batch.state, batch.processed_files, batch.failed_files) == ("completed", 1, 1)
    assert File.objects.filter(batch=batch).count() == 4
    assert File.objects.current().filter(batch=batch).count() == 2


def test_a_strict_batch_goes_on_without_its_failed_files():
    batch = with_issues(fleet=Fleet.objects.create(name="strict", failure_policy="strict"))
    assert (batch.state, batch.failed_stage) == ("failed", "scattering")
    retrigger.continue_without_failed(batch.pk, actor="a", seen_fence=batch.fence)
    drain()
    batch = again(batch)
    assert (batch.state, batch.processed_files, batch.failed_files) == ("completed", 1, 1)


def test_without_any_readable_file_there_is_nothing_to_go_on_with():
    batch = factories.uploaded({"bad.log": GARBAGE})
    drain()
    batch = again(batch)
    with pytest.raises(NothingSelected):
        retrigger.continue_without_failed(batch.pk, actor="a", seen_fence=batch.fence)


@pytest.mark.parametrize(("module", "stage"), [("files.merge.merge", "gathering"), ("batches.diagnose.diagnose", "diagnosing")])
def test_a_stage_that_failed_is_retried_from_there(monkeypatch, module, stage):
    batch = factories.uploaded({"good.log": factories.CANDUMP})

    def broken(*_):
        raise ValueError("broken on purpose")

    with monkeypatch.context() as patched:
        patched.setattr(module, broken)
        drain()
    batch = again(batch)
    assert (batch.state, batch.failed_stage) == ("failed", stage)
    assert "broken on purpose" in batch.error
    retrigger.retry_stage(batch.pk, actor="a", seen_fence=batch.fence)
    drain()
    batch = again(batch)
    assert (batch.state, batch.failed_stage, batch.error) == ("completed", "", "")
    assert File.objects.get(batch=batch).attempt == 1


def test_a_reopened_batch_takes_files_and_keeps_its_earlier_results():
    batch = with_issues()
    retrigger.reopen(batch.pk, actor="a", seen_fence=batch.fence)
    batch = again(batch)
    assert (batch.state, batch.processed_files, batch.failed_files, batch.completed_at) == ("pending", 0, 0, None)
    factories.stored(batch, factories.CANDUMP, "late.log")
    complete_batch(batch.pk, None, actor="vehicle")
    drain()
    batch = again(batch)
    assert (batch.state, batch.total_files, batch.processed_files, batch.failed_files) == ("completed", 3, 2, 1)
    assert list(File.objects.filter(batch=batch).values_list("attempt", flat=True)) == [1, 1, 1]


def test_a_reopened_batch_without_new_files_ends_again():
    batch = with_issues()
    retrigger.reopen(batch.pk, actor="a", seen_fence=batch.fence)
    complete_batch(batch.pk, None, actor="vehicle")
    drain()
    assert (again(batch).state, again(batch).processed_files) == ("completed", 1)


def test_a_cancelled_batch_runs_no_further_and_drops_late_results():
    batch = factories.uploaded({"good.log": factories.CANDUMP})
    retrigger.cancel(batch.pk, actor="user:ops", seen_fence=batch.fence)
    drain()
    batch = again(batch)
    assert (batch.state, batch.processed_files) == ("cancelled", 0)
    with pytest.raises(WrongState):
        retrigger.cancel(batch.pk, actor="a", seen_fence=batch.fence)
    with pytest.raises(WrongState):
        retrigger.reprocess(batch.pk, actor="a", seen_fence=batch.fence)


def test_rediagnose_replaces_the_findings():
    batch = with_issues()
    before = set(batch.findings.values_list("pk", flat=True))
    retrigger.rediagnose(batch.pk, actor="a", seen_fence=batch.fence)
    drain()
    batch = again(batch)
    after = set(batch.findings.values_list("pk", flat=True))
    assert before
    assert len(after) == len(before)
    assert not after & before
