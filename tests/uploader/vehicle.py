"""A vehicle for tests: a spool, a token, and the uploader as a process of its own or called as a library."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests
from argus_uploader.config import Settings
from argus_uploader.errors import Exit
from argus_uploader.progress import Progress
from argus_uploader.uploader import Uploader

ROOT = Path(__file__).resolve().parents[2]
WITHIN_S = 60.0
LARGEST_FILE = 12_000_000
# Which Python runs the program: any from 3.9 on.
PYTHON = os.environ.get("ARGUS_UPLOADER_PYTHON", sys.executable)


def noise(size: int, seed: int) -> bytes:
    """Bytes that no two files share."""
    return random.Random(seed).randbytes(size)


class Told(Progress):
    """Keeps the events, and calls `when` with each."""

    def __init__(self, when: Callable[[str, dict[str, Any]], None] = lambda event, facts: None) -> None:
        super().__init__()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._when = when

    def event(self, event: str, **facts: Any) -> None:
        self.events.append((event, facts))
        self._when(event, facts)

    def named(self, event: str) -> list[dict[str, Any]]:
        return [facts for name, facts in self.events if name == event]


class Vehicle:
    """Its folders, and how it reaches the server at `url`."""

    def __init__(self, folder: Path, url: str, token: str) -> None:
        self.spool, self.state = folder / "spool", folder / "state"
        self.url = self.server = url  # which way it goes, and where a test can ask without that
        self.spool.mkdir(parents=True)
        self.token = token
        self.token_file = folder / "token"
        self.token_file.touch(mode=0o600)
        self.token_file.write_text(token + "\n")
        self.options: dict[str, Any] = {"poll": 0.1, "settle": 0.0, "backoff": 0.1, "backoff_limit": 0.5, "give_up": 30.0}

    def record(self, path: str, content: bytes) -> Path:
        """Writes a recording into the spool, as loggers should: under another name first."""
        target = self.spool / path
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = target.with_name(target.name + ".part")
        scratch.write_bytes(content)
        scratch.rename(target)
        return target

    def describe(self, folder: str, **metadata: Any) -> None:
        """Writes the metadata.json of a folder."""
        (self.spool / folder).mkdir(parents=True, exist_ok=True)
        (self.spool / folder / "metadata.json").write_text(json.dumps(metadata))

    def settings(self, **more: Any) -> Settings:
        """As a library takes them."""
        return Settings(url=self.url, spool=str(self.spool), state=str(self.state), **{**self.options, **more})

    def uploader(self, progress: Progress | None = None, stop: threading.Event | None = None, **more: Any) -> Uploader:
        """The program as a library."""
        return Uploader(self.settings(**more), lambda: self.token, progress, stop)

    def send(self, progress: Progress | None = None, **more: Any) -> Exit:
        """Sends everything, in this process."""
        return self.uploader(progress, **more).run(once=True)

    def command(self, *flags: str, **more: Any) -> list[str]:
        """The program as a process."""
        given = {"url": self.url, "spool": self.spool, "state": self.state, "token-file": self.token_file, **self.options, **more}
        options = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        return [PYTHON, "-m", "argus_uploader", "run", *flags, *options]

    def start(self, *flags: str, out: Any = subprocess.DEVNULL, **more: Any) -> subprocess.Popen[bytes]:
        """Starts the program."""
        return subprocess.Popen(self.command(*flags, **more), env=environment(), stdout=out, stderr=subprocess.STDOUT)

    def run(self, *flags: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Runs the program until it ends."""
        command = self.command(*flags, **more)
        return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=WITHIN_S, check=False)

    # -- what the server has -------------------------------------------------------------------------------------------

    def get(self, path: str) -> Any:
        """What the API answers the vehicle."""
        answer = requests.get(self.server + path, headers={"Authorization": f"Bearer {self.token}"}, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def batches(self) -> list[dict[str, Any]]:
        """All batches of the vehicle with their files, the oldest first."""
        found = self.get("/api/v1/batches?page_size=200")["results"]
        return [self.get(f"/api/v1/batches/{batch['id']}") for batch in reversed(found)]

    def stored(self) -> list[tuple[str, str]]:
        """Name and SHA-256 of all files that the server has."""
        return sorted((file["name"], file["sha256"]) for batch in self.batches() for file in batch["files"])


def environment() -> dict[str, str]:
    """Nothing but what the program needs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ARGUS_", "DJANGO_", "DATABASE_", "PYTHON"))}
    return {**kept, "PYTHONPATH": str(ROOT / "uploader"), "PYTHONDONTWRITEBYTECODE": "1"}


def until(true: Callable[[], Any], seconds: float = WITHIN_S) -> None:
    """Waits for a condition."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
