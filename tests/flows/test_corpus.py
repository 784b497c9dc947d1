"""Every CAN recording of the corpus, uploaded over HTTP, parsed by real workers: counts and rows are what independent readers give."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys

import pytest

from batches.models import Batch
from files import storage
from tests import factories
from tests.flows.live import ROOT, Live
from tests.parsers.blocks import CORPUS
from tests.parsers.test_corpus_frames import expectations, needs_corpus

pytestmark = [pytest.mark.cluster, needs_corpus]


def test_every_can_file_of_the_corpus_arrives_and_is_read_as_independent_readers_read_it(live: Live):
    expected = {name: entry["expected"] for name, entry in expectations()}
    vehicle = factories.vehicle(name="corpus")
    token = factories.token(vehicle)
    batch_id = live.send(token, {name.replace("/", "__"): (CORPUS / name).read_bytes() for name in expected})
    ended = live.ended(token, batch_id)
    assert ended["status"] == "completed", live.tail()
    files = {file.name: file for file in Batch.objects.get(pk=batch_id).files.all()}
    assert len(files) == len(expected)
    problems = []
    for name, want in expected.items():
        file = files[name.replace("/", "__")]
        source = (CORPUS / name).read_bytes()
        if file.sha256 != hashlib.sha256(source).hexdigest() or storage.read_bytes(file.storage_key, 2**30) != source:
            problems.append(f"{name}: stored bytes differ")
        if file.state != "completed":
            problems.append(f"{name}: {file.state} {file.error_code} {file.error}")
            continue
        summary = json.load(io.BytesIO(storage.read_bytes(f"{file.result_key}/summary.json", 2**26)))
        if summary["frames"]["total"] != want["frames"]:
            problems.append(f"{name}: {summary['frames']['total']} frames, expected {want['frames']}")
        if rows_sha256(name) != want["rows_sha256"]:
            problems.append(f"{name}: rows differ")
    assert problems == []
    assert ended["processed_files"] == len(expected)


def rows_sha256(name: str) -> str:
    rows = subprocess.run([sys.executable, "-m", "parsers", "rows", str(CORPUS / name)], cwd=ROOT, capture_output=True, check=True).stdout
    return hashlib.sha256(rows).hexdigest()
