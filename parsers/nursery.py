"""The worker's side of the process that children of the sandbox are forked from: started when it is needed, once in each process."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

ROOT = str(Path(__file__).resolve().parent.parent)
BOOT = "import sys; sys.path[:0] = {path!r}; from parsers.template import main; main()"
# One thread, for a fork takes no other along; and memory that is kept rather than given back to the kernel after each column:
# compression contexts are as large as the threshold from which malloc would map and clear them anew.
ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "268435456",
    "LC_ALL": "C.UTF-8",
}
START_SECONDS = 60.0
ATTEMPTS = 3  # one may meet a template that is just ending
MESSAGE = 4096


class CannotStart(Exception):
    """There is no process to fork children from. `kind` is plugin (a package offers a parser that cannot be used) or start."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


class Nursery:
    """One template process. It ends when this process does: its socket is closed then, whatever the way."""

    def __init__(self) -> None:
        """Starts it and waits until it has imported everything. Raises CannotStart."""
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel.settimeout(START_SECONDS)
        command = [sys.executable, "-I", "-S", "-B", "-c", BOOT.format(path=search_path())]
        try:
            with theirs:
                self.process = subprocess.Popen(
                    command,
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    env=ENVIRONMENT,
                    start_new_session=True,
                )
        except OSError as error:
            self.channel.close()
            raise CannotStart("start", f"the template process cannot be started: {error.strerror or error}") from error
        try:
            hello = read_message(self.channel)
        except TimeoutError:
            self.process.kill()
            hello = {"detail": f"the template process was not ready after {START_SECONDS:g} s"}
        if "ready" not in hello:
            self.channel.close()
            status = self.process.wait()
            raise CannotStart(hello.get("failed", "start"), hello.get("detail", f"the template process ended with status {status}"))

    def ask(self, fds: list[int]) -> socket.socket | None:
        """Has a child forked that gets the descriptors; the socket to it, or None when the template has ended. Raises CannotStart."""
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                socket.send_fds(self.channel, [b"job"], [theirs.fileno(), *fds])
            control.settimeout(START_SECONDS)
            begun = read_message(control)
        except OSError:
            begun = {}
        if "started" in begun:
            return control
        control.close()
        if "failed" in begun:
            raise CannotStart("start", f"no child can be started: {begun['failed']}")
        return None


_lock = threading.Lock()
_current: Nursery | None = None
_ended: list[subprocess.Popen[bytes]] = []


def begin(fds: list[int]) -> socket.socket:
    """A new child with the descriptors job, report, standard error, folder and data (parsers.child).

    The socket gives one message when the child has ended; shutting it down or closing it kills the child. Raises CannotStart.
    """
    for _ in range(ATTEMPTS):
        nursery = _running()
        control = nursery.ask(fds)
        if control is not None:
            return control
        close(nursery)
    raise CannotStart("start", f"the template process ended {ATTEMPTS} times before it had started a child")


def read_message(channel: socket.socket) -> dict[str, Any]:
    """One message of the template; empty when it is gone. Raises TimeoutError."""
    try:
        data = channel.recv(MESSAGE)
    except ConnectionError:
        data = b""
    message: dict[str, Any] = json.loads(data) if data else {}
    return message


def close(nursery: Nursery | None = None) -> None:
    """Lets the template end when its children have; with a nursery, only if it is still the current one."""
    global _current
    with _lock:
        if _current is not None and nursery in (None, _current):
            _current.channel.close()
            _ended.append(_current.process)
            _current = None


def search_path() -> list[str]:
    """Where the template finds modules: what this process has, by whole names only."""
    return [ROOT, *(path for path in sys.path if os.path.isabs(path) and os.path.isdir(path) and path != ROOT)]


def _running() -> Nursery:
    global _current
    with _lock:
        _ended[:] = [process for process in _ended if process.poll() is None]
        if _current is None:
            _current = Nursery()
        return _current


def _forget() -> None:
    """In a fork of this process: the template stays the parent's, and must see its socket close with the parent."""
    global _current, _lock
    _lock = threading.Lock()
    if _current is not None:
        with contextlib.suppress(OSError):
            _current.channel.close()
        _ended.append(_current.process)
    for process in _ended:
        process.returncode = 0  # not a child of this process: nothing to wait for
    _ended.clear()
    _current = None


os.register_at_fork(after_in_child=_forget)
atexit.register(close)
