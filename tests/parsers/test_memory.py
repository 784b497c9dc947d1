"""However long a file is, reading it takes the same memory: gigabytes that lie on no disk, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

READ = """
from bench.repeated import RepeatedSource
from parsers.base import Recording
from parsers.can.{module} import {parser} as Reader
from tests.logs import blf, blf_can, blf_container, candump

def peak():
    return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmHWM:"))

def read(size):
    source = RepeatedSource(head, body, size)
    recording = Recording()
    frames = sum(len(block) for block in Reader().blocks(source, recording))
    assert frames == source.repeats * count, (frames, source.repeats)
    assert recording.lost == []

{make}
read(20 << 20)
before = peak()
read({gigabytes} << 30)
print(before, peak())
"""

CANDUMP = 'count, head, body = 10_000, b"", candump("123#1122334455667788") * 10_000'
BLF = """
whole = blf([blf_container(b"".join(blf_can(0x100 + i % 50, bytes(8), time=i) for i in range(2000)), method=0)])
count, head, body = 2000, whole[:144], whole[144:]
"""


@pytest.mark.parametrize(
    ("module", "parser", "make", "gigabytes"),
    [("candump", "CandumpParser", CANDUMP, 2), ("blf", "BlfParser", BLF, 4)],
    ids=["candump", "blf"],
)
def test_gigabytes_take_no_more_memory_than_megabytes(module: str, parser: str, make: str, gigabytes: int) -> None:
    script = READ.format(module=module, parser=parser, make=make, gigabytes=gigabytes)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    before, after = map(float, done.stdout.split())
    assert after < 300
    assert after - before < 16
