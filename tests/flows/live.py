"""A running Argus on the test's own database and storage: real web server, real queue, real parser children."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import requests
from django.conf import settings
from django.db import connection

from argus_site.processes import Process, stop_all

ROOT = Path(__file__).resolve().parents[2]
ENDED = {"completed", "failed", "abandoned", "cancelled"}


@dataclass
class Live:
    """Where it runs."""

    url: str
    logs: Path
    worker: int = 0  # process id of the queue's main process

    def send(self, token: str, files: dict[str, bytes], *, complete: bool = True) -> str:
        """Upload files as a vehicle does, and complete; the batch id."""
        with requests.Session() as session:
            session.headers["Authorization"] = f"Bearer {token}"
            answer = session.post(f"{self.url}/api/v1/batches", json={}, timeout=30)
            assert answer.status_code == 201, answer.text
            batch_id = answer.json()["id"]
            for name, content in files.items():
                answer = session.put(
                    f"{self.url}/api/v1/batches/{batch_id}/files/{requests.utils.quote(name, safe='')}", data=content, timeout=60
                )
                assert answer.status_code == 201, answer.text
            if complete:
                answer = session.post(f"{self.url}/api/v1/batches/{batch_id}/complete", timeout=30)
                assert answer.status_code == 202, answer.text
        return batch_id

    def ended(self, token: str, batch_id: str, seconds: float = 120) -> dict:
        """The batch as the API shows it, once it has ended."""
        until = time.monotonic() + seconds
        while True:
            answer = requests.get(f"{self.url}/api/v1/batches/{batch_id}", headers={"Authorization": f"Bearer {token}"}, timeout=30)
            assert answer.status_code == 200, answer.text
            if answer.json()["status"] in ENDED:
                return answer.json()
            assert time.monotonic() < until, f"still {answer.json()['status']} after {seconds} s\n{self.tail()}"
            time.sleep(0.1)

    def tail(self) -> str:
        """The ends of the logs, for a failure that has to be understood."""
        return "\n".join(
            f"== {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-20:]) for log in sorted(self.logs.glob("*.log"))
        )


def environment(storage: Path) -> dict[str, str]:
    """What the processes need to find the test's database and storage."""
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite":
        url = f"sqlite:///{name}"
    else:
        parts = urlsplit(os.environ["DATABASE_URL"])
        url = urlunsplit(parts._replace(path=f"/{name}"))
    return {
        **os.environ,
        "DATABASE_URL": url,
        "ARGUS_STORAGE_DIR": str(storage),
        "ARGUS_DATA_DIR": str(settings.DATA_DIR),
        "ARGUS_STATIC_DIR": str(settings.STATIC_ROOT),
        "ARGUS_THREADS": os.environ.get("ARGUS_THREADS", "32"),
        "DJANGO_SETTINGS_MODULE": "tests.live_settings",
    }


@contextmanager
def running(folder: Path, *, workers: bool = True) -> Iterator[Live]:
    """Start the processes, wait until the server answers, stop them at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    logs = folder / "log"
    logs.mkdir()
    env = environment(folder / "storage")
    web = Process(
        "web",
        [
            sys.executable,
            "-m",
            "gunicorn",
            "-c",
            "python:argus_site.gunicorn_conf",
            "argus_site.wsgi",
            "--chdir",
            str(ROOT),
            "--bind",
            f"127.0.0.1:{port}",
            "--graceful-timeout",
            "3",
        ],
        log=logs / "web.log",
        env=env,
    )
    processes = [web]
    if workers:
        processes.append(Process("worker", [sys.executable, str(ROOT / "manage.py"), "qcluster"], log=logs / "worker.log", env=env))
    live = Live(f"http://127.0.0.1:{port}", logs, processes[-1].pid)
    try:
        until = time.monotonic() + 60
        while True:
            try:
                if requests.get(f"{live.url}/healthz", timeout=2).status_code == 200:
                    break
            except requests.RequestException:
                pass
            assert web.status() is None, live.tail()
            assert time.monotonic() < until, live.tail()
            time.sleep(0.1)
        yield live
    finally:
        stop_all(processes)
