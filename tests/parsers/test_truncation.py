"""A file that is cut at any byte goes through the whole decoder: what is missing is always said, in the summary or as a refusal."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from fuzz.check import DATABASE
from fuzz.seeds import contracts
from parsers.detect import detect
from parsers.errors import ParseError
from parsers.recording import decode_recording
from parsers.registry import BUILT_IN
from parsers.results.check import check_summary
from parsers.source import BytesSource

MOST_CUTS = 600  # of one sample; a longer one is cut at evenly spread bytes


def decoded(parser_name: str, data: bytes, folder: Path) -> dict[str, Any] | ParseError:
    """The summary, or why there is none."""
    with tempfile.TemporaryDirectory(dir=folder) as out:
        try:
            summary = decode_recording(BytesSource(data), "cut" + BUILT_IN[parser_name].suffixes[0], [DATABASE], out)
        except ParseError as error:
            return error
    check_summary(summary)
    return summary


def content(summary: dict[str, Any]) -> int:
    """How much was read: frames, samples and log messages."""
    return int(summary["frames"]["total"] + summary["samples"] + summary["message_count"])


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_cut_file_is_never_silently_short(name: str, tmp_path: Path) -> None:
    assert contracts(name), f"no class in tests/parsers tests {name} by the contract"
    for contract in contracts(name):
        sample = contract.sample
        if detect(BytesSource(sample), "x" + BUILT_IN[name].suffixes[0]).format != name:
            continue
        whole = decoded(name, sample, tmp_path)
        assert not isinstance(whole, ParseError)
        assert (whole["lost"], whole["problem_count"]) == ([], 0)
        step = max(1, len(sample) // MOST_CUTS)
        for cut in range(0, len(sample), step):
            found = decoded(name, sample[:cut], tmp_path)
            if isinstance(found, ParseError):
                assert found.offset is not None, cut
                assert 0 <= found.offset <= cut, cut
                continue
            if found["format"] != name:
                continue  # of the first line of a text, a reader of other texts may be surer
            assert content(found) <= content(whole), cut
            if content(found) < content(whole) and cut not in contract.whole_cuts:
                assert found["lost"] or found["problem_count"], cut
