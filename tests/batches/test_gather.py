"""Gather: the results of the readable files become one, once; a late gather changes nothing."""

from __future__ import annotations

import json

import pytest

from batches import claims, gather, retrigger
from batches.closing import complete_batch
from batches.models import Batch
from batches.parse import parse_file
from batches.receiving import Offer, take_file
from batches.scatter import scatter_batch
from events.models import Event
from files import merge, results, storage
from files.models import File
from tests import factories
from tests.queue import drain

pytestmark = pytest.mark.django_db
SECOND = factories.CANDUMP.replace(b"(1700000", b"(1700001")


@pytest.fixture
def scattered() -> Batch:
    """Two readable files and one that is not, parsed."""
    batch = factories.uploaded({"a.log": factories.CANDUMP, "b.log": SECOND, "c.log": b"\x00\x01\x02garbage" * 50})
    scatter_batch(batch.pk)
    for pk in File.objects.filter(batch=batch).values_list("pk", flat=True):
        parse_file(pk)
    batch = Batch.objects.get(pk=batch.pk)
    assert batch.state == "scattered"
    return batch


def test_the_statistics_hold_every_readable_file_and_no_other(scattered):
    gather.gather_batch(scattered.pk)
    batch = Batch.objects.get(pk=scattered.pk)
    assert batch.state == "gathered"
    statistics = results.batch_result(batch)
    assert [file["name"] for file in statistics["files"]] == ["a.log", "b.log"]
    assert statistics["frames"]["total"] == 1800
    assert batch.recorded_from < batch.recorded_to
    states = dict(File.objects.filter(batch=batch).values_list("name", "state"))
    assert states == {"a.log": "completed", "b.log": "completed", "c.log": "failed"}


def test_gathering_twice_is_gathering_once(scattered):
    gather.gather_batch(scattered.pk)
    key = Batch.objects.get(pk=scattered.pk).result_key
    gather.gather_batch(scattered.pk)
    assert Batch.objects.get(pk=scattered.pk).result_key == key
    assert Event.objects.filter(batch=scattered, type="GatheringCompleted").count() == 1


def test_a_gather_that_lost_its_batch_while_it_merged_writes_nothing(scattered, monkeypatch):
    real = merge.merge

    def overtaken(found):
        Batch.objects.filter(pk=scattered.pk).update(fence=999)
        return real(found)

    monkeypatch.setattr(merge, "merge", overtaken)
    gather.gather_batch(scattered.pk)
    batch = Batch.objects.get(pk=scattered.pk)
    assert (batch.state, batch.result_key) == ("gathering", "")
    assert not Event.objects.filter(batch=scattered, type="GatheringCompleted").exists()


def test_a_takeover_finishes_what_the_first_began(scattered):
    fence = claims.claim(claims.GATHER, scattered.pk)
    batch = Batch.objects.get(pk=scattered.pk)
    File.objects.filter(batch=batch).begin_aggregating()
    Batch.objects.filter(pk=batch.pk).update(lease_until="1970-01-01T00:00:00Z")
    gather.gather_batch(batch.pk)
    drain()
    batch = Batch.objects.get(pk=batch.pk)
    assert batch.state == "completed"
    assert batch.result_key == f"results/batches/{batch.pk}/{fence + 1}"


def test_results_of_an_earlier_version_are_told_as_such_and_parsed_again(scattered):
    file = File.objects.get(batch=scattered, name="a.log")
    summary = json.loads(storage.read_bytes(f"{file.result_key}/summary.json", 2**24))
    storage.write_bytes(f"{file.result_key}/summary.json", json.dumps({**summary, "schema": 1}).encode())
    drain()
    batch = Batch.objects.get(pk=scattered.pk)
    assert (batch.state, batch.error_code) == ("failed", "gather_error")
    assert "parse everything again" in batch.error
    retrigger.reprocess(batch.pk, actor="ops", seen_fence=batch.fence)
    drain()
    assert Batch.objects.get(pk=batch.pk).state == "completed"


# -- copies ------------------------------------------------------------------------------------------------------------


def sent(contents: dict[str, bytes]) -> Batch:
    """A batch whose files came by the API's own way, gathered."""
    batch = factories.batch()
    for name, content in contents.items():
        take_file(batch.pk, Offer(name, size=len(content)), [content], actor="test")
    complete_batch(batch.pk, None, actor="test")
    drain()
    batch.refresh_from_db()
    return batch


def test_a_copy_within_the_batch_is_parsed_but_counts_once():
    batch = sent({"b.log": factories.CANDUMP, "a.log": factories.CANDUMP, "c.log": SECOND, "d.log": factories.CANDUMP})
    assert batch.state == "completed"
    assert (batch.total_files, batch.processed_files) == (4, 4)
    statistics = results.batch_result(batch)
    assert [file["name"] for file in statistics["files"]] == ["b.log", "c.log"]
    assert statistics["frames"]["total"] == 1800
    assert statistics["copies"] == [{"name": "a.log", "same_as": "b.log"}, {"name": "d.log", "same_as": "b.log"}]
    assert statistics["copy_count"] == 2
    assert all(file.result_key for file in File.objects.filter(batch=batch))


def test_a_copy_of_another_batches_file_counts():
    sent({"a.log": factories.CANDUMP})
    vehicle = Batch.objects.get().vehicle
    batch = factories.batch(vehicle)
    for name in ("x.log", "y.log"):
        take_file(batch.pk, Offer(name, size=len(factories.CANDUMP)), [factories.CANDUMP], actor="test")
    assert File.objects.filter(batch=batch, duplicate_of__isnull=False).count() == 2
    complete_batch(batch.pk, None, actor="test")
    drain()
    batch.refresh_from_db()
    statistics = results.batch_result(batch)
    assert [file["name"] for file in statistics["files"]] == ["x.log"]
    assert statistics["copies"] == [{"name": "y.log", "same_as": "x.log"}]


def test_the_copy_counts_when_the_first_one_has_no_result():
    batch = sent({"a.log": factories.CANDUMP, "b.log": factories.CANDUMP})
    File.objects.filter(batch=batch, name="a.log").update(state="failed", error_class="crash", error_code="crash")
    assert [result.name for result in results.file_results(batch)] == ["b.log"]


def test_after_a_retry_a_copy_is_still_one():
    batch = sent({"a.log": factories.CANDUMP, "b.log": factories.CANDUMP})
    retrigger.reprocess(batch.pk, actor="user:x", seen_fence=batch.fence)
    drain()
    batch.refresh_from_db()
    statistics = results.batch_result(batch)
    assert [file["name"] for file in statistics["files"]] == ["a.log"]
    assert statistics["copy_count"] == 1
