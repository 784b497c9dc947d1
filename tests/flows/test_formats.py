"""Each format goes through the real pipeline: uploaded, parsed in the sandbox, gathered, diagnosed, and shown."""

from __future__ import annotations

import pytest

from batches.admin.report import signal_key
from batches.models import Batch
from files import results
from files.messages import Query, search
from files.models import File
from fuzz.seeds import contracts
from parsers.detect import detect
from parsers.registry import BUILT_IN
from parsers.source import BytesSource
from tests import factories
from tests.admin.pages import logged_in, read
from tests.queue import drain

pytestmark = pytest.mark.django_db


def sample(name: str) -> bytes:
    """The sample of the format's own contract test."""
    suffix = BUILT_IN[name].suffixes[0]
    return next(contract.sample for contract in contracts(name) if detect(BytesSource(contract.sample), f"x{suffix}").format == name)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_file_of_the_format_becomes_a_diagnosed_batch(name: str) -> None:
    batch = factories.uploaded({f"drive{BUILT_IN[name].suffixes[0]}": sample(name)})
    drain()
    batch = Batch.objects.get(pk=batch.pk)
    file = File.objects.get(batch=batch)
    assert (batch.state, batch.processed_files, batch.failed_files) == ("completed", 1, 0), (file.error_code, file.error)
    assert (file.state, file.format, file.partial, file.parser_version) == ("completed", name, False, BUILT_IN[name].version)
    contents = file.facts["frames"]["total"] + file.facts["samples"] + file.facts["messages"]
    assert contents >= 3
    statistics = results.batch_result(batch)
    assert statistics is not None
    assert statistics["frames"]["total"] + statistics["samples"] + statistics["message_count"] == contents
    assert sum(stream["count"] for stream in statistics["streams"]) == file.facts["samples"]
    for entry in statistics["signals"]:
        values = [
            value for block in results.series(results.file_results(batch), entry["stream"], entry["signal"]) for value in block[1].tolist()
        ]
        assert len(values) == entry["count"]
    assert len(search(results.file_results(batch), Query(), limit=10_000).rows) == sum(file.facts["message_levels"].values())


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_pages_show_what_was_read(name: str) -> None:
    batch = factories.uploaded({f"drive{BUILT_IN[name].suffixes[0]}": sample(name)})
    drain()
    support = logged_in(factories.user("susan", "support"))
    page = read(support.get(f"/admin/batches/batch/{batch.pk}/change/"))
    assert "1 read" in page.words
    assert name in page.words
    file = File.objects.get(batch=batch)
    assert name in read(support.get(f"/admin/files/file/{file.pk}/change/")).words
    if file.facts["messages"]:
        assert "Search all log messages" in page.words
    statistics = results.batch_result(Batch.objects.get(pk=batch.pk))
    assert statistics is not None
    for entry in statistics["signals"][:3]:
        answer = support.get(f"/admin/batches/batch/{batch.pk}/plot/", {"signal": signal_key(entry["stream"], entry["signal"])}).json()
        assert len(answer["t"]) == len(answer["low"]) == entry["count"]


def test_all_formats_in_one_batch_are_merged() -> None:
    batch = factories.uploaded({f"{name}{BUILT_IN[name].suffixes[0]}": sample(name) for name in BUILT_IN})
    drain()
    batch = Batch.objects.get(pk=batch.pk)
    assert (batch.state, batch.processed_files, batch.failed_files) == ("completed", len(BUILT_IN), 0)
    statistics = results.batch_result(batch)
    assert statistics is not None
    assert {entry["format"] for entry in statistics["files"]} == set(BUILT_IN)
    support = logged_in(factories.user("susan", "support"))
    assert str(len(BUILT_IN)) in read(support.get(f"/admin/batches/batch/{batch.pk}/change/")).words
