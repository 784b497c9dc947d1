"""The real transition graph is the documented one, and the database refuses what the model forbids."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from batches.models import RUNNING, Batch, BatchState
from files.models import File, FileState
from tests import factories

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "pipeline.md"


def documented(heading: str) -> set[tuple[str, str, str]]:
    """The rows (from, to, transition) of the table under a heading of docs/pipeline.md."""
    section = DOCUMENT.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\w+) \| (\w+) \| `(\w+)` \|", section, re.MULTILINE)
    assert rows, f"no table under {heading}"
    return set(rows)


def real(model: type[Batch] | type[File]) -> set[tuple[str, str, str]]:
    instance = model()
    return {(str(t.source), str(t.target), t.name) for t in instance.get_all_state_transitions()}


def test_batch_transitions_are_exactly_the_documented_ones():
    assert real(Batch) == documented("Batch transitions")


def test_file_transitions_are_exactly_the_documented_ones():
    assert real(File) == documented("File transitions")


def test_every_state_is_reached_and_every_running_state_can_be_left():
    edges = real(Batch)
    assert {target for _, target, _ in edges} | {"pending"} == set(BatchState.values)
    assert {str(state) for state in RUNNING} <= {source for source, _, _ in edges}


BAD_BATCHES = {
    "unknown state": {"state": "x"},
    "running without files": {"state": "scattering"},
    "completed without time": {"state": "completed", "total_files": 1},
    "time without being completed": {"completed_at": timezone.now()},
    "failed without stage": {"state": "failed", "completed_at": timezone.now()},
    "stage without being failed": {"failed_stage": "gathering"},
    "failed in a stage that does not exist": {"state": "failed", "failed_stage": "pending", "completed_at": timezone.now()},
    "more processed than files": {"total_files": 1, "processed_files": 1, "failed_files": 1},
    "more settled than started": {"completed_worker_count": 1},
    "no expected workers": {"expected_workers": 0},
}


@pytest.mark.parametrize("change", BAD_BATCHES.values(), ids=BAD_BATCHES.keys())
def test_the_database_refuses_a_batch(vehicle, change):
    batch = factories.batch(vehicle)
    with pytest.raises(IntegrityError), transaction.atomic():
        Batch.objects.filter(pk=batch.pk).update(**change)


def test_negative_counters_are_refused(vehicle):
    batch = factories.batch(vehicle)
    for counter in ("total_files", "processed_files", "failed_files", "expected_worker_count", "completed_worker_count"):
        with pytest.raises(IntegrityError), transaction.atomic():
            Batch.objects.filter(pk=batch.pk).update(**{counter: -1})


BAD_FILES = {
    "unknown state": {"state": "x"},
    "empty": {"size": 0},
    "not stored": {"storage_key": ""},
    "no digest": {"sha256": ""},
    "failed without reason": {"state": "failed"},
    "reason without being failed": {"error_code": "corrupt", "error_class": "input"},
    "parsed without result": {"state": "parsed"},
}


@pytest.mark.parametrize("change", BAD_FILES.values(), ids=BAD_FILES.keys())
def test_the_database_refuses_a_file(vehicle, change):
    file = factories.file(factories.batch(vehicle))
    with pytest.raises(IntegrityError), transaction.atomic():
        File.objects.filter(pk=file.pk).update(**change)


def test_a_file_is_not_its_own_successor(vehicle):
    file = factories.file(factories.batch(vehicle))
    with pytest.raises(IntegrityError), transaction.atomic():
        File.objects.filter(pk=file.pk).update(superseded_by=file.pk)


def test_state_cannot_be_assigned(vehicle):
    with pytest.raises(AttributeError):
        factories.batch(vehicle).state = BatchState.COMPLETED
    with pytest.raises(AttributeError):
        factories.file(factories.batch(vehicle)).state = FileState.PARSED
