"""`make run`: sets up the database, starts web server and workers, and has the demo fleet upload its drives."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import sys
import time
from argparse import ArgumentParser
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management import BaseCommand, CommandError, call_command
from django.db import connections

from argus_site import demo_data
from argus_site.processes import Process, stop_all

HEALTHY_WITHIN_S = 60
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop(Exception):
    """Somebody pressed Ctrl-C, or asked us to end."""


class Command(BaseCommand):
    """Runs until Ctrl-C; everything it starts ends with it."""

    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--no-fleet", action="store_true", help="start without the demo vehicles")

    def handle(self, *args: Any, **options: Any) -> None:
        """Set up, start, watch, stop."""
        for number in STOPPING:
            signal.signal(number, _stop)
        processes: list[Process] = []
        try:
            self._run(options["port"], fleet=not options["no_fleet"], processes=processes)
        except Stop:
            self.stdout.write("Stopping.")
        finally:
            _stop_only_once()
            stop_all(processes)

    def _run(self, port: int, *, fleet: bool, processes: list[Process]) -> None:
        url = f"http://127.0.0.1:{port}"
        _refuse_taken(port)
        call_command("migrate", verbosity=0, interactive=False)
        call_command("collectstatic", verbosity=0, interactive=False)
        passwords, tokens = demo_data.prepare(settings.DATA_DIR / "demo")
        connections.close_all()
        logs = settings.DATA_DIR / "log"
        logs.mkdir(parents=True, exist_ok=True)
        web, worker = _web(port, logs), _worker(logs)
        processes += [web, worker]
        _wait_healthy(port, web)
        logins = "  ".join(f"{name} / {password}" for name, password in passwords.items())
        self.stdout.write(f"Argus runs at {url}/   logins: {logins}   (Ctrl-C stops)", self.style.SUCCESS)
        self.stdout.flush()
        uploader = None
        if fleet:
            command = [
                sys.executable,
                "-m",
                "demo",
                "upload",
                "--url",
                url,
                "--tokens",
                str(tokens),
                "--folder",
                str(settings.DATA_DIR / "demo"),
            ]
            uploader = Process("demo fleet", command, log=None, env=os.environ)
            processes.append(uploader)
        while True:
            time.sleep(0.5)
            if web.status() is not None:
                raise CommandError(f"The web server ended:\n{web.tail()}")
            if worker.status() is not None:
                self.stderr.write(f"The workers ended and are started again; see {worker.log}")
                processes.remove(worker)
                worker = _worker(logs)
                processes.append(worker)


def _stop(number: int, frame: FrameType | None) -> None:
    _stop_only_once()
    raise Stop


def _stop_only_once() -> None:
    """The end takes a few seconds and is bounded: a second signal must not leave it half done."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


def _web(port: int, logs: Path) -> Process:
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "-c",
        "python:argus_site.gunicorn_conf",
        "argus_site.wsgi",
        "--bind",
        f"127.0.0.1:{port}",
        "--graceful-timeout",
        "3",
    ]
    return Process("web server", command, log=logs / "web.log", env=os.environ)


def _worker(logs: Path) -> Process:
    return Process("workers", [sys.executable, "manage.py", "qcluster"], log=logs / "worker.log", env=os.environ)


def _refuse_taken(port: int) -> None:
    if not 0 < port < 2**16:
        raise CommandError(f"There is no port {port}: 1 to {2**16 - 1}.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise CommandError(f"Port {port} is taken. Choose another one: make run PORT={port + 1}") from error


def _wait_healthy(port: int, web: Process) -> None:
    until = time.monotonic() + HEALTHY_WITHIN_S
    while time.monotonic() < until:
        if web.status() is not None:
            raise CommandError(f"The web server ended:\n{web.tail()}")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/healthz")
            if connection.getresponse().status == HTTPStatus.OK:
                return
        except OSError:
            time.sleep(0.2)
        finally:
            connection.close()
    raise CommandError(f"The web server did not answer within {HEALTHY_WITHIN_S} s:\n{web.tail()}")
