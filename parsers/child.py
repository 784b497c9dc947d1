"""The child process of the sandbox: locks itself down, does one job over inherited descriptors, reports in short JSON lines."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from parsers.errors import ParseError

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWNET = 0x4000_0000
REPORT_SECONDS = 0.2
STORAGE_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ESTALE})

Json = dict[str, Any]


def main() -> None:
    """Reads the job from standard input: a JSON line, then the databases or the DBC. Ends the process."""
    with os.fdopen(0, "rb", closefd=False) as stdin:
        job = json.loads(stdin.readline())
        lock_down(job)
        payload = stdin.read()
    report = Report(job["report_fd"])
    gc.disable()  # a job makes no cycles in number; looking for them costs a few percent
    try:
        TASKS[job["task"]](job, payload, report)
        report.send({"done": True, "peak_bytes": peak_bytes()})
    except ParseError as error:
        report.send({"error": {"code": error.code, "reason": error.reason[:1000], "offset": error.offset}})
    except MemoryError:
        report.send({"crash": {"kind": "memory", "detail": "MemoryError"}})
    except OSError as error:
        if error.errno not in STORAGE_ERRORS:
            raise
        report.send({"crash": {"kind": "storage", "detail": f"{os.strerror(error.errno or 0)}"}})
    os._exit(0)  # nothing is left to write, and freeing a few hundred megabytes takes time


def peak_bytes() -> int:
    """The most memory this process held. Not ru_maxrss: that begins with what the parent held when it started us (getrusage(2))."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


class Report:
    """Progress to the parent: at most five lines a second, and whatever ends the job."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._next = 0.0
        self._tick = 0

    def progress(self, read: int) -> None:
        """Tells how many bytes have been read. Each call is a sign of life."""
        self._tick += 1
        now = time.monotonic()
        if now >= self._next:
            self._next = now + REPORT_SECONDS
            self.send({"bytes": read, "tick": self._tick})

    def send(self, frame: Json) -> None:
        """One line. Raises BrokenPipeError when the parent has gone."""
        data = memoryview(json.dumps(frame).encode() + b"\n")
        while data:
            data = data[os.write(self._fd, data) :]


def lock_down(job: Json) -> None:
    """Limits first, then what cannot be taken back; only the limits must succeed."""
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, job["memory"]),
        (resource.RLIMIT_FSIZE, job["file_size"]),
        (resource.RLIMIT_NOFILE, job["open_files"]),
    ):
        _, hard = resource.getrlimit(limit)
        resource.setrlimit(limit, (value, value) if hard == resource.RLIM_INFINITY else (min(value, hard), min(value, hard)))
    resource.setrlimit(resource.RLIMIT_CPU, (job["cpu_seconds"], job["cpu_seconds"] + 5))  # the hard limit is SIGKILL
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != job["parent"]:  # it died before the line above
        os._exit(1)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # the kernel takes the child, not the worker
        file.write("1000")
    if job["no_network"]:
        libc.unshare(CLONE_NEWUSER | CLONE_NEWNET)  # where the kernel allows it


def _decode(job: Json, payload: bytes, report: Report) -> None:
    from parsers.can.database import Database
    from parsers.limits import Limits
    from parsers.recording import decode_recording
    from parsers.source import FileSource

    documents = json.loads(payload)
    source = FileSource(job["input_fd"], job["name"])
    databases = [Database.from_document(document) for document in documents]
    decode_recording(source, job["name"], databases, ".", Limits(**job["limits"]), report.progress)


def _compile(job: Json, payload: bytes, _report: Report) -> None:
    from parsers.can.database import Database

    compiled = memoryview(Database.load_dbc(payload, job["name"]).to_json())
    while compiled:
        compiled = compiled[os.write(job["output_fd"], compiled) :]


TASKS: dict[str, Callable[[Json, bytes, Report], None]] = {"decode": _decode, "compile": _compile}

if __name__ == "__main__":
    sys.exit("started by parsers.sandbox only")
