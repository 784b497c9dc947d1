"""Every MDF file of the corpus gives the frames and signals that independent readers gave."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from parsers.base import Recording
from parsers.blocks import Block, SampleBlock, SignalSpec
from parsers.can.database import Database
from parsers.can.frames import FrameBlock
from parsers.detect import detect
from parsers.errors import Unsupported
from parsers.limits import Limits
from parsers.mdf.reader import MdfParser
from parsers.recording import decode_recording
from parsers.rows import rows
from parsers.source import FileSource
from tests.parsers.blocks import CORPUS


def expectations() -> dict[str, dict[str, Any]]:
    path = CORPUS / "EXPECTED.json"
    if not path.is_file():
        return {}
    return {name: entry for name, entry in json.loads(path.read_text())["files"].items() if entry["format"] == "mf4"}


EXPECTED = expectations()
needs_corpus = pytest.mark.skipif(not EXPECTED, reason=f"no corpus of real logs at {CORPUS}; set ARGUS_CORPUS to its folder")
READABLE = {name: entry for name, entry in EXPECTED.items() if not name.endswith(".MFC")}


def blocks_of(name: str, limits: Limits | None = None) -> tuple[list[Block], Recording]:
    recording = Recording()
    with FileSource(CORPUS / name) as source:
        assert detect(source).format == "mdf"
        return list(MdfParser().blocks(source, recording, limits or Limits())), recording


@needs_corpus
def test_the_corpus_has_logs_and_measurements() -> None:
    assert len(READABLE) >= 10
    assert {bool(entry["expected"]["can"]["frames"]) for entry in READABLE.values()} == {True, False}


@needs_corpus
@pytest.mark.parametrize(("name", "entry"), READABLE.items(), ids=list(READABLE))
@pytest.mark.parametrize("limits", [Limits(), Limits(block_frames=1000, block_rows=100, read_size=10_000)], ids=["whole", "small"])
def test_frames_equal_those_of_independent_readers(name: str, entry: dict[str, Any], limits: Limits) -> None:
    expected = entry["expected"]["can"]
    found, recording = blocks_of(name, limits)
    frames = [block for block in found if isinstance(block, FrameBlock)]
    lines = b"".join(rows(frames, recording)).decode().splitlines(keepends=True)
    # The expected rows are merged by time; groups of one bus may be recorded a little out of order.
    lines.sort(key=lambda line: int(line.split(",", 1)[0]))
    assert len(lines) == expected["frames"]
    assert sorted(recording.channels) == expected["channels"]
    without_time = "".join(line.split(",", 1)[1] for line in lines)
    assert hashlib.sha256(without_time.encode()).hexdigest() == expected["rows_sha256_no_time"]
    assert hashlib.sha256("".join(lines).encode()).hexdigest() == expected["rows_sha256"]
    assert (recording.lost, recording.problems, recording.skipped) == ([], [], {})


Column = tuple[SignalSpec, NDArray[Any], NDArray[np.bool_], NDArray[np.int64]]


def columns_of(name: str) -> dict[str, list[Column]]:
    """By signal: what it is, its values, which of them are valid, their times; one entry for each stream."""
    found, recording = blocks_of(name)
    streams: dict[int, list[SampleBlock]] = {}
    for block in found:
        if isinstance(block, SampleBlock):
            streams.setdefault(block.stream, []).append(block)
    columns: dict[str, list[Column]] = {}
    for number, parts in streams.items():
        t_ns = np.concatenate([part.t_ns for part in parts])
        for place, spec in enumerate(recording.streams[number].signals):
            masks = [part.masks[place] for part in parts]
            valid = [
                np.ones(len(part), np.bool_) if mask is None else mask.astype(np.bool_) for part, mask in zip(parts, masks, strict=True)
            ]
            values = np.concatenate([part.columns[place] for part in parts])
            columns.setdefault(spec.name, []).append((spec, values, np.concatenate(valid), t_ns))
    return columns


@needs_corpus
@pytest.mark.parametrize(("name", "entry"), READABLE.items(), ids=list(READABLE))
def test_signals_equal_those_of_independent_readers(name: str, entry: dict[str, Any]) -> None:
    columns = columns_of(name)
    for key, expected in entry["expected"]["signals"].items():
        signal = key.split("/", 1)[1]
        (spec, values, valid, t_ns), *others = columns[signal]
        assert not others
        assert len(values) == expected["count"], key
        if "min" not in expected:
            first = spec.choices.get(int(values[0]), "") if spec.choices and valid[0] else ""
            assert first == expected["first"], key
            continue
        assert spec.unit == expected["unit"], key
        real = values[valid].astype(np.float64)
        real = real[~np.isnan(real)]
        with np.errstate(invalid="ignore"):
            statistics = (real.min(), real.max(), real.mean())
        for mine, theirs in zip(statistics, (expected["min"], expected["max"], expected["mean"]), strict=True):
            assert math.isclose(mine, float(theirs), rel_tol=1e-9), key
        # The other reader keeps seconds as float64, which cannot tell 238 ns apart at today's epoch.
        assert abs(int(t_ns[0]) - expected["t_first"] * 1e9) < 1000, key
        assert abs(int(t_ns[-1]) - expected["t_last"] * 1e9) < 1000, key


@needs_corpus
def test_a_packed_log_is_refused_by_name() -> None:
    packed = next(name for name in EXPECTED if name.endswith(".MFC"))
    with pytest.raises(Unsupported, match="compressed or encrypted CANedge log"):
        blocks_of(packed)


def decoded() -> list[dict[str, Any]]:
    path = CORPUS / "dbc" / "EXPECTED_real_logs.json"
    if not path.is_file():
        return []
    return [entry for entry in json.loads(path.read_text()) if entry["log"].startswith("mf4/") and entry["signals"]]


@needs_corpus
@pytest.mark.parametrize("entry", decoded(), ids=lambda entry: entry["log"])
def test_decoded_signals_equal_those_of_independent_readers(entry: dict[str, Any], tmp_path: Any) -> None:
    database = Database.load((CORPUS / entry["dbc"].removeprefix("public/")).read_bytes(), "drive.dbc")
    with FileSource(CORPUS / entry["log"]) as source:
        summary = decode_recording(source, entry["log"], [database], tmp_path)
    assert summary["frames"]["total"] == entry["frames"]
    found: dict[str, list[dict[str, Any]]] = {}
    for stream in summary["streams"]:
        for signal in stream["signals"]:
            found.setdefault(f"{stream['message']}.{signal['name']}", []).append(signal)
    for name, expected in entry["signals"].items():
        parts = found[name]
        assert sum(part["count"] for part in parts) == expected["count"], name
        assert math.isclose(min(part["min"] for part in parts), expected["min"], abs_tol=1e-9), name
        assert math.isclose(max(part["max"] for part in parts), expected["max"], abs_tol=1e-9), name
        mean = sum(part["mean"] * part["count"] for part in parts) / expected["count"]
        assert math.isclose(mean, expected["mean"], rel_tol=1e-9, abs_tol=1e-9), name
