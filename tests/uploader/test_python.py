"""The program is Python 3.9 without any package, and says what it does."""

from __future__ import annotations

import ast
import io
import os
import pty
import subprocess
import sys

import pytest
from argus_uploader.progress import Bar, Lines

from tests.uploader.vehicle import ROOT, environment

SOURCES = sorted((ROOT / "uploader" / "argus_uploader").glob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_it_is_python_3_9_and_imports_nothing_but_the_standard_library(path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(str(node.module).partition(".")[0])
    assert imported - {"argus_uploader"} <= set(sys.stdlib_module_names)
    assert "tomllib" not in imported


@pytest.mark.parametrize("path", [path for path in SOURCES if path.stem != "__main__"], ids=lambda path: path.stem)
def test_annotations_are_never_evaluated_and_no_newer_call_is_used(path) -> None:
    """`X | Y` in an annotation is text in 3.9 only with the future import; everywhere else it would be a TypeError there."""
    tree = ast.parse(path.read_text())
    if path.stem != "__init__":
        assert any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            words = {keyword.arg for keyword in node.keywords}
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            assert not (name == "zip" and "strict" in words), f"zip(strict=) in line {node.lineno}"
            assert not (name == "dataclass" and words & {"slots", "kw_only"}), f"dataclass of 3.10 in line {node.lineno}"
        if isinstance(node, ast.ImportFrom) and node.module == "datetime":
            assert "UTC" not in {name.name for name in node.names}


def test_it_says_how_it_is_called() -> None:
    command = [sys.executable, "-m", "argus_uploader", "run", "--help"]
    told = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True).stdout
    assert "--bandwidth" in told
    assert "--once" in told


def test_on_a_terminal_there_is_a_bar_with_rate_and_time_left() -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as out:
        bar = Bar(out)
        bar.batch(4_000_000, 0)
        bar.file(2, 5, "evil\x1b[2J.blf")
        bar.moved(1_000_000)
        bar.event("file_sent", name="drive.blf", bytes=4)
        drawn = ""
        while not drawn.endswith("\n"):
            drawn += os.read(ours, 65536).decode()
    assert "[######" in drawn
    assert " 25 %  1.0 MB of 4.0 MB  2.0 MB/s  00:01  file 2 of 5  evil" in drawn
    assert "\x1b[2J" not in drawn
    assert drawn.endswith("file sent  name drive.blf  bytes 4\r\n")
    os.close(ours)


def test_elsewhere_there_are_lines_of_json() -> None:
    out = io.StringIO()
    lines = Lines(out)
    lines.event("file_sent", name="a\nb")
    assert out.getvalue().count("\n") == 1
    assert '"event": "file_sent", "name": "a\\nb"' in out.getvalue()
