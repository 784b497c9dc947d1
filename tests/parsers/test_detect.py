"""Detection by content: magic, structure, and the suffix only between equals."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from parsers.__main__ import main
from parsers.detect import detect
from parsers.errors import Empty, UnknownFormat, Unsupported
from parsers.registry import parser_for, parsers
from parsers.source import BytesSource, FileSource
from tests.logs import asc, blf, blf_can, blf_container, candump

CANDUMP = candump("123#1122", "124#", "125#R")
ASC = asc("1.0 1 123 Rx d 1 01", "2.0 1 123 Rx d 1 01")
BLF = blf([blf_container(blf_can(0x123, b"\x01\x02"))])


@pytest.mark.parametrize("name", ["", "trip.log", "trip.asc", "trip.blf", "trip.mf4", "noise"])
@pytest.mark.parametrize(("data", "format_name"), [(CANDUMP, "candump"), (ASC, "asc"), (BLF, "blf")])
def test_content_decides_whatever_the_name(data: bytes, format_name: str, name: str) -> None:
    detection = detect(BytesSource(data), name)
    assert detection.format == format_name
    assert detection.reason


def test_a_suffix_that_lies_is_mentioned() -> None:
    assert detect(BytesSource(BLF), "trip.asc").reason == "begins with LOGG, the signature of BLF; the suffix .asc says otherwise"


def test_the_suffix_decides_between_hints_only() -> None:
    hint = b"date Sam Sep 30 15:06:13.191 2017\n"
    assert detect(BytesSource(hint), "trip.asc").format == "asc"
    assert detect(BytesSource(hint), "trip.txt").format == "textlog"
    with pytest.raises(UnknownFormat):
        detect(BytesSource(hint), "trip.bin")


def test_an_empty_file_is_called_empty() -> None:
    with pytest.raises(Empty, match="the file is empty"):
        detect(BytesSource(b""), "trip.blf")


@pytest.mark.parametrize(
    ("data", "looks_like"),
    [
        (b"%PDF-1.4\n" + bytes(100), "a PDF document"),
        (b"PK\x03\x04" + bytes(100), "a ZIP archive"),
        (b"\x1f\x8b" + bytes(100), "a gzip file"),
        ("(1.0) can0 123#00\n".encode("utf-16"), "UTF-16 text"),
        (bytes(100), "zeros"),
        (bytes(range(1, 200)), "binary data (01 02 03 04 05 06 07 08)"),
        (b"1 (1612543138.000000) vcan0 0CF00400#0041FF20481400F0\n", "text beginning '1 (1612543138.000000) vcan0 0CF00400#004'"),
    ],
)
def test_a_refusal_names_what_was_seen(data: bytes, looks_like: str) -> None:
    with pytest.raises(UnknownFormat) as caught:
        detect(BytesSource(data), "trip.blf")
    assert caught.value.reason.endswith(f"first bytes look like {looks_like}")
    assert caught.value.code == "unknown_format"


def test_candump_with_a_damaged_first_line_is_still_candump() -> None:
    assert detect(BytesSource(bytes(8) + CANDUMP[8:]), "").format == "candump"


def test_one_candump_line_is_enough() -> None:
    assert detect(BytesSource(CANDUMP[:39]), "").format == "candump"


def test_every_registered_parser_answers_to_its_name() -> None:
    for name, parser in parsers().items():
        assert parser.format == name
        assert parser.version
        assert all(suffix.startswith(".") for suffix in parser.suffixes)
    with pytest.raises(Unsupported, match="no reader for format 'mf9'"):
        parser_for("mf9")


def test_a_file_source_refuses_links_pipes_and_directories(tmp_path: Path) -> None:
    target = tmp_path / "trip.log"
    target.write_bytes(CANDUMP)
    link = tmp_path / "link.log"
    link.symlink_to(target)
    os.mkfifo(tmp_path / "pipe.log")
    with pytest.raises(OSError, match="symbolic"):
        FileSource(link)
    with pytest.raises(Unsupported, match="not a regular file"):
        FileSource(tmp_path / "pipe.log")
    with pytest.raises(Unsupported, match="not a regular file"):
        FileSource(tmp_path)


def test_a_file_source_reads_by_path_and_by_descriptor(tmp_path: Path) -> None:
    target = tmp_path / "trip.log"
    target.write_bytes(b"0123456789")
    with FileSource(target) as source:
        assert (source.size, source.name) == (10, "trip.log")
        assert source.read_at(8, 100) == b"89"
        assert source.read_at(100, 5) == b""
        assert source.read_at(2, 3) == b"234"
    with target.open("rb") as file:
        by_descriptor = FileSource(file.fileno(), "given.blf")
        by_descriptor.close()
        assert by_descriptor.read_at(0, 2) == b"01"
        assert by_descriptor.name == "given.blf"


def test_rows_and_inspect_from_the_command_line(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    target = tmp_path / "trip.blf"
    target.write_bytes(BLF[:-4])
    assert main(["rows", str(target)]) == 0
    out, err = capfdbinary.readouterr()
    assert out == b"5000000,1,123,0,0,0,0,0102\n"
    assert b"lost: " in err
    assert main(["inspect", str(target), "--json"]) == 0
    out, _ = capfdbinary.readouterr()
    assert b'"partial": true' in out
    assert main(["inspect", str(target)]) == 0
    out, _ = capfdbinary.readouterr()
    assert b"partial: True" in out


@pytest.mark.parametrize("command", ["rows", "inspect"])
def test_the_command_line_fails_with_code_and_reason(tmp_path: Path, command: str, capfd: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "trip.blf"
    target.write_bytes(b"%PDF-1.4\n")
    assert main([command, str(target)]) == 1
    assert "unknown_format: not a log that Argus reads: first bytes look like a PDF document" in capfd.readouterr().err
    assert main([command, str(tmp_path / "missing")]) == 1
    assert "No such file" in capfd.readouterr().err
