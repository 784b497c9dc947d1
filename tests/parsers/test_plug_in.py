"""A package can add a format: the example of docs/adding-a-parser.md is installed, detected, decoded and keeps the contract."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from parsers import registry
from parsers.detect import detect
from parsers.registry import BadPlugIn
from parsers.source import BytesSource

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "adding-a-parser.md").read_text()
EXAMPLE, TESTS = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
ENTRY_POINTS = re.findall(r"\[project\.entry-points\.\"(.*?)\"\]\n(.*?)\n```", GUIDE)
LOG = b"TACHO1 1700000000\n0;10.5;1\n100;11.5;1\n!door open\n200;12.5;2\n"


def install(folder: Path, module: str, source: str, entry: str) -> Path:
    """A site directory with the package in it, as pip leaves it."""
    site = folder / "site-packages"
    information = site / f"{module}-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[{registry.ENTRY_POINTS}]\n{entry}\n")
    (site / f"{module}.py").write_text(source)
    return site


@pytest.fixture
def plugged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    ((group, entry),) = ENTRY_POINTS
    assert group == registry.ENTRY_POINTS
    site = install(tmp_path, "argus_tacho", EXAMPLE, entry.replace('"', ""))
    monkeypatch.syspath_prepend(str(site))
    registry.parsers.cache_clear()
    yield site
    registry.parsers.cache_clear()
    sys.modules.pop("argus_tacho", None)


def test_the_example_is_found_by_its_content(plugged: Path) -> None:
    detection = detect(BytesSource(LOG), "drive.bin")
    assert detection.format == "tacho"
    assert type(registry.parser_for("tacho")).__name__ == "TachoParser"
    assert list(registry.parsers())[: len(registry.BUILT_IN)] == list(registry.BUILT_IN)


def test_the_example_is_decoded_into_streams_and_messages(plugged: Path, tmp_path: Path) -> None:
    log, out = tmp_path / "drive.tacho", tmp_path / "out"
    log.write_bytes(LOG)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{plugged}"}
    done = subprocess.run(
        [sys.executable, "-m", "parsers", "decode", str(log), "--out", str(out)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["format"], summary["samples"], summary["message_levels"]) == ("tacho", 3, {"warning": 1})
    table = pq.read_table(out / "streams" / f"{summary['streams'][0]['key']}.parquet").to_pydict()
    assert table == {"t_ns": [17 * 10**17, 17 * 10**17 + 10**8, 17 * 10**17 + 2 * 10**8], "speed": [10.5, 11.5, 12.5], "gear": [1, 1, 2]}
    assert pq.read_table(out / "messages.parquet").column("text").to_pylist() == ["door open"]


def test_the_example_keeps_the_contract(plugged: Path, tmp_path: Path) -> None:
    (tmp_path / "test_tacho.py").write_text(TESTS)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:django",
            "-c",
            os.devnull,
            str(tmp_path / "test_tacho.py"),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{plugged}"},
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize(
    ("source", "entry", "says"),
    [
        ("x = 1 / 0", "broken = broken:X", r"parser 'broken' of broken: ZeroDivisionError"),
        ("class X:\n format = 'blf'\n version = '1'\n suffixes = ()\n sniff = blocks = print", "blf = broken:X", "already a parser"),
        ("class X:\n format = 'other'\n version = '1'\n suffixes = ()\n sniff = blocks = print", "broken = broken:X", "entry point's name"),
        ("class X:\n format = 'broken'\n version = 1\n suffixes = ()", "broken = broken:X", "version is not a str"),
        ("class X:\n format = 'broken'\n version = '1'\n suffixes = ()\n sniff = print", "broken = broken:X", "no method blocks"),
    ],
)
def test_a_package_that_cannot_be_used_is_named(
    source: str, entry: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(install(tmp_path, "broken", source, entry)))
    registry.parsers.cache_clear()
    try:
        with pytest.raises(BadPlugIn, match=says):
            detect(BytesSource(LOG), "drive.bin")
    finally:
        registry.parsers.cache_clear()
        sys.modules.pop("broken", None)
