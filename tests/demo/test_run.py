"""`make run` as processes: how it starts, what it refuses, and that nothing stays behind however it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WITHIN_S = 60

pytestmark = pytest.mark.cluster


def environment(data: Path) -> dict[str, str]:
    """As a user has it: nothing of Argus set but where its data lie."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ARGUS_", "DATABASE_", "DJANGO_"))}
    return {**kept, "ARGUS_DATA_DIR": str(data), "PYTHONUNBUFFERED": "1"}


def command(port: object) -> list[str]:
    return [sys.executable, "manage.py", "argus_demo", "--no-fleet", "--port", str(port)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def descendants(pid: int) -> set[int]:
    """Ids of all processes below one."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found |= {child} | descendants(child)
    return found


def alive(pid: int) -> bool:
    """Is there such a process, and no zombie?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(true: Callable[[], bool], seconds: float = WITHIN_S) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.1)
    return true()


@contextlib.contextmanager
def running(data: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path, int]]:
    """Argus that has said where it runs; the file with its words, its port."""
    port, words = free_port(), data.with_name(data.name + ".out")
    with words.open("wb") as out:
        process = subprocess.Popen(command(port), cwd=ROOT, env=environment(data), stdout=out, stderr=out)
    try:
        assert until(lambda: "Argus runs" in words.read_text() or process.poll() is not None), words.read_text()
        assert process.poll() is None, words.read_text()
        yield process, words, port
    finally:
        for pid in descendants(process.pid) if process.poll() is None else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait()


def test_it_starts_answers_and_ends_cleanly_however_often_it_is_told(tmp_path):
    data = tmp_path / "a däta 'dir'"
    with running(data) as (process, words, port):
        assert f"http://127.0.0.1:{port}/" in words.read_text()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
            assert answer.status == 200
        taken = subprocess.run(
            command(port), cwd=ROOT, env=environment(data), capture_output=True, text=True, timeout=WITHIN_S, check=False
        )
        assert taken.returncode != 0
        assert f"Port {port} is taken" in taken.stderr
        below = descendants(process.pid)
        assert len(below) >= 4
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process.send_signal(number)
            time.sleep(0.2)
        assert process.wait(15) == 0
        assert not [pid for pid in below if alive(pid)]
    assert "Traceback" not in words.read_text()
    with running(data) as (_, again, _):
        assert again.read_text().split("logins:")[1] == words.read_text().split("logins:")[1].replace("Stopping.\n", "")


def test_nothing_outlives_it_when_it_is_killed(tmp_path):
    with running(tmp_path / "data") as (process, _, _):
        below = descendants(process.pid)
        process.kill()
        process.wait()
        assert until(lambda: not [pid for pid in below if alive(pid)], 20), below


@pytest.mark.parametrize("port", ["0", "-1", "65536"])
def test_a_port_that_cannot_be_is_refused_in_one_line(tmp_path, port):
    refused = subprocess.run(
        command(port), cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, timeout=WITHIN_S, check=False
    )
    assert refused.returncode != 0
    assert refused.stderr.strip() == f"CommandError: There is no port {port}: 1 to 65535."
