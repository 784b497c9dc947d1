"""The damaged variants of corpus files: no crash, no hang, no silent loss; each is decoded in the sandbox,
within 10 seconds and 512 MiB."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from parsers import sandbox
from parsers.sandbox import SandboxLimits
from tests.parsers.blocks import CORPUS

MAKER = CORPUS / "tools" / "make_corrupt.py"
MEMORY = 512 << 20
LIMITS = SandboxLimits(memory=MEMORY, cpu_seconds=10, wall_seconds=10)

needs_corpus = pytest.mark.skipif(not MAKER.is_file(), reason=f"no corpus of real logs at {CORPUS}; set ARGUS_CORPUS to its folder")


def variants() -> list[str]:
    if not MAKER.is_file():
        return []
    return [entry["file"] for entry in json.loads((MAKER.parent / "CORRUPT.json").read_text())]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("corrupt")
    subprocess.run([sys.executable, str(MAKER), str(CORPUS), str(out)], check=True, capture_output=True, timeout=120)
    return out


class Outcome:
    """What the whole decoder, in its sandbox, made of one file."""

    def __init__(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with tempfile.TemporaryDirectory() as out:
                outcome = sandbox.run(fd, path.name, b"[]", out, LIMITS)
        finally:
            os.close(fd)
        assert not isinstance(outcome, sandbox.Crashed), outcome
        self.refused = isinstance(outcome, sandbox.Refused)
        self.error = outcome if isinstance(outcome, sandbox.Refused) else None
        self.report: dict[str, Any] = {}
        if isinstance(outcome, sandbox.Parsed):
            assert outcome.peak_bytes < MEMORY
            self.report = outcome.summary

    @property
    def frames(self) -> int:
        return int(self.report["frames"]["total"])

    @property
    def flagged(self) -> bool:
        return bool(self.report["lost"] or self.report["problem_count"])


# What CORRUPT.json demands beyond "no crash": exact frame counts, and the code of a refusal. None: refused.
FRAMES: dict[str, int | None] = {
    "candump_bad_lines.log": 200,
    "candump_long_line.log": 20,
    "candump_crlf_bom.log": 50,
    "candump_no_final_newline.log": 50,
    "candump_fd_kinds.log": 8,
    "candump_bad_magic.log": 12973,
    "candump_doubled.log": 2 * 12974,
    "candump_garbage_tail.log": 12974,
    "candump_trunc_minus1.log": 12974,
    "asc_bad_magic.asc": 1457,
    "asc_doubled.asc": 2 * 1457,
    "asc_garbage_tail.asc": 1457,
    "asc_trunc_minus1.asc": 1457,
    "blf_doubled.blf": 44,
    "blf_garbage_tail.blf": 22,
    "blf_trunc_minus1.blf": 22,
    "blf_container_size_0.blf": 0,
    "blf_dlc_255.blf": 1,
    "blf_bomb_1GiB.blf": None,
    "blf_bad_magic.blf": None,
    "blf_inner_size_16_loop.blf": None,
    "ulg_bad_magic.ulg": None,
    "ulg_trunc_3bytes.ulg": None,
    "bag_bad_magic.bag": None,
    "bag_chunk_size_2GiB.bag": None,
    "mcap_bad_magic.mcap": None,
    "mcap_chunk_unc_2e60.mcap": None,
    "mcap_nested_chunk.mcap": None,
    "mcap_record_len_2e63.mcap": None,
    "mcap_record_len_max.mcap": None,
    "mcap_string_len_4GiB.mcap": None,
    "mcap_trunc_3bytes.mcap": None,
    "mcap_unknown_compression.mcap": None,
    "wrong_ext_blf_as_mf4.mf4": 22,
    "wrong_ext_pdf_as_ulg.ulg": None,
    "wrong_ext_zip_as_dlt.dlt": None,
    "wrong_ext_bag_as_mcap.mcap": None,
    "wrong_ext_mf4_as_blf.blf": 2010,
    "mf4_bad_magic.mf4": None,
    "mf4_trunc_3bytes.mf4": None,
    "mf4_trunc_header.mf4": None,
    "mf4_trunc_minus1.mf4": 2009,
    "mf4_trunc_half.mf4": 901,
    "mf4_bitflips.mf4": 1996,
    "mf4_zero_hole.mf4": 1897,
    "mf4_block_len_huge.mf4": 2010,
    "mf4_block_len_zero.mf4": 2010,
    "mf4_cycle_count_2e40.mf4": 2010,
    "mf4_dg_cycle.mf4": 2010,
    "mf4_doubled.mf4": 2010,
    "mf4_garbage_tail.mf4": 2010,
}
# The same for log messages.
MESSAGES: dict[str, int] = {
    "dlt_bad_magic.dlt": 110,
    "dlt_doubled.dlt": 2 * 111,
    "dlt_garbage_between.dlt": 111,
    "dlt_garbage_tail.dlt": 111,
    "dlt_len_65535.dlt": 110,
    "dlt_len_zero.dlt": 110,
    "dlt_trunc_minus1.dlt": 110,
    "mcap_doubled.mcap": 2 * 10,
    "mcap_garbage_tail.mcap": 10,
    "mcap_trunc_half.mcap": 10,
    "mcap_trunc_minus1.mcap": 10,
}
# Whole and unharmed as far as the format can tell: joined candump logs only step back in time, CRLF and FD kinds are no damage.
CLEAN = {
    "candump_doubled.log",
    "candump_crlf_bom.log",
    "candump_fd_kinds.log",
    "blf_container_size_0.blf",
    "blf_dlc_255.blf",
    "wrong_ext_mf4_as_blf.blf",
    "dlt_doubled.dlt",
    "record_bad_magic.record",  # begins with zeros anyway
}
# Damage that only shows in what can be decoded: bits of a descriptor, in a format without checksums.
UNDECODED = {"record_bitflips.record"}


@needs_corpus
@pytest.mark.parametrize("name", variants())
def test_a_damaged_file_is_refused_with_a_reason_or_read_and_flagged(folder: Path, name: str) -> None:
    outcome = Outcome(folder / name)
    if name.startswith("zero_length"):
        assert outcome.error is not None
        assert outcome.error.code == "empty_file"
        return
    if name in FRAMES and FRAMES[name] is None:
        assert outcome.refused
    if outcome.error is not None:
        assert outcome.error.code in {"truncated", "corrupt", "unsupported", "unknown_format", "limit_exceeded"}
        assert outcome.error.reason
        assert outcome.error.offset is not None
        assert 0 <= outcome.error.offset <= (folder / name).stat().st_size
        assert FRAMES.get(name) is None, outcome.error
        return
    if name in FRAMES:
        assert outcome.frames == FRAMES[name]
    if name in MESSAGES:
        assert outcome.report["message_count"] == MESSAGES[name]
    if name in UNDECODED:
        assert outcome.report["undecoded"]
    elif name not in CLEAN and name != "wrong_ext_blf_as_mf4.mf4":
        assert outcome.flagged, outcome.report


@needs_corpus
@pytest.mark.parametrize("name", ["candump_trunc_half.log", "candump_trunc_quarter.log", "asc_trunc_half.asc", "asc_trunc_quarter.asc"])
def test_a_cut_text_log_gives_every_whole_line_before_the_cut(folder: Path, name: str) -> None:
    lines = (folder / name).read_bytes().splitlines()
    whole = [line for line in lines[:-1] if line.strip()[:1].isdigit() or line.startswith(b"(")]
    assert Outcome(folder / name).frames in (len(whole), len(whole) + 1)


@needs_corpus
def test_bad_candump_lines_are_each_counted(folder: Path) -> None:
    report = Outcome(folder / "candump_bad_lines.log").report
    assert report["skipped"] == {"unreadable line": 6}
    assert report["problem_count"] == 6


@needs_corpus
def test_kinds_of_candump_frames_are_told_apart(folder: Path) -> None:
    frames = Outcome(folder / "candump_fd_kinds.log").report["frames"]
    assert (frames["total"], frames["fd"], frames["remote"], frames["error"]) == (8, 3, 2, 1)


@needs_corpus
@pytest.mark.parametrize(
    ("name", "samples"),
    [
        ("ulg_trunc_quarter.ulg", 2798),
        ("ulg_trunc_half.ulg", 6731),
        ("ulg_trunc_minus1.ulg", 14603),
        ("ulg_first_msg_len_65535.ulg", 14604),
        ("ulg_garbage_tail.ulg", 14604),
        ("ulg_doubled.ulg", 2 * 14604),
    ],
)
def test_a_damaged_flight_gives_every_whole_row(folder: Path, name: str, samples: int) -> None:
    assert Outcome(folder / name).report["samples"] == samples


@needs_corpus
@pytest.mark.parametrize(
    ("name", "samples"),
    [
        ("bag_unindexed.bag", 8637),
        ("bag_trunc_minus1.bag", 8637),
        ("bag_garbage_tail.bag", 8637),
        ("bag_doubled.bag", 2 * 8637),
        ("bagbz_garbage_tail.bag", 8637),
        ("bagbz_doubled.bag", 2 * 8637),
        ("record_trunc_half.record", 12),
        ("record_trunc_minus1.record", 34),
        ("record_garbage_tail.record", 34),
        ("record_doubled.record", 2 * 34),
        ("record_zero_hole.record", 33),
    ],
)
def test_a_damaged_bag_or_record_gives_every_whole_message(folder: Path, name: str, samples: int) -> None:
    assert Outcome(folder / name).report["samples"] == samples
