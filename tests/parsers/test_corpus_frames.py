"""Every candump, ASC and BLF file of the corpus gives the rows that independent readers gave."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from parsers.base import Recording
from parsers.detect import detect
from parsers.errors import UnknownFormat
from parsers.registry import parser_for
from parsers.rows import rows
from parsers.source import FileSource
from tests.parsers.blocks import CORPUS

FORMATS = ("candump", "asc", "blf")


def expectations() -> list[tuple[str, dict[str, Any]]]:
    if not (CORPUS / "EXPECTED.json").is_file():
        return []
    files = json.loads((CORPUS / "EXPECTED.json").read_text())["files"]
    derived = {entry["file"]: entry for entry in json.loads((CORPUS / "derived" / "EXPECTED_derived.json").read_text())}
    return [(name, entry) for name, entry in (files | derived).items() if entry["format"] in FORMATS]


CASES = expectations()
needs_corpus = pytest.mark.skipif(not CASES, reason=f"no corpus of real logs at {CORPUS}; set ARGUS_CORPUS to its folder")


@needs_corpus
def test_the_corpus_has_files_of_every_format() -> None:
    assert {entry["format"] for _, entry in CASES} == set(FORMATS)


@needs_corpus
@pytest.mark.parametrize(("name", "entry"), CASES, ids=[name for name, _ in CASES])
def test_rows_equal_those_of_independent_readers(name: str, entry: dict[str, Any]) -> None:
    expected = entry["expected"]
    recording = Recording()
    with FileSource(CORPUS / name) as source:
        detection = detect(source)
        assert detection.format == entry["format"]
        text = b"".join(rows(parser_for(detection.format).blocks(source, recording), recording))
    lines = text.decode().splitlines()
    assert len(lines) == expected["frames"]
    for start, mine in (("rows", lines), ("first_rows", lines[:5]), ("last_rows", lines[-3:])):
        if start in expected:
            assert mine == expected[start]
    assert sorted(recording.channels) == expected["channels"]
    assert hashlib.sha256(text).hexdigest() == expected["rows_sha256"]


@needs_corpus
def test_a_log_of_another_dialect_is_refused_by_what_it_looks_like() -> None:
    with FileSource(CORPUS / "text/pretty_j1939__test_priority.log") as source, pytest.raises(UnknownFormat, match=r"1 \(1612543138"):
        detect(source)
