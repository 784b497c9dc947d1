"""The child process of the sandbox: closes what is not its own, locks itself down, does one job, reports in short JSON lines."""

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
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from parsers import landlock
from parsers.can.database import Database
from parsers.errors import ParseError
from parsers.limits import Limits
from parsers.recording import decode_recording
from parsers.source import FileSource

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PROCESSES = 64  # threads included; the built-in parsers start none
# Code and tables that may still be read; nothing of the worker: its environment, its settings and its data are out of reach.
READABLE = (
    os.path.dirname(__file__),
    os.path.dirname(os.__file__),
    *(path for path in sys.path if path.endswith(("site-packages", "dist-packages"))),
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/share/zoneinfo",
    "/dev/null",
    "/proc/self",
)
REPORT_SECONDS = 0.2
STORAGE_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ESTALE})

Json = dict[str, Any]


def main(fds: list[int], parent: int) -> NoReturn:
    """One job in a process that has just been forked from `parent`, on the descriptors job, report, standard error, folder and data.

    The job is a JSON line, then the databases or the DBC. Ends the process.
    """
    job_fd, report_fd, stderr_fd, folder_fd, data_fd = fds
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # its own files in /proc are its own again
    os.setsid()
    os.dup2(job_fd, 0)
    os.dup2(stderr_fd, 2)
    os.fchdir(folder_fd)
    _close_others({0, 1, 2, report_fd, data_fd})
    with os.fdopen(0, "rb", closefd=False) as stdin:
        job = json.loads(stdin.readline())
        job["data_fd"] = data_fd
        lock_down(job, parent)
        payload = stdin.read()
    report = Report(report_fd)
    gc.disable()  # a job makes no cycles in number; looking for them costs a few percent
    try:
        TASKS[job["task"]](job, payload, report)
        report.send({"done": True})
    except ParseError as error:
        report.send({"error": {"code": error.code, "reason": error.reason[:1000], "offset": error.offset}})
    except MemoryError:
        report.send({"crash": {"kind": "memory", "detail": "MemoryError"}})
    except OSError as error:
        if error.errno not in STORAGE_ERRORS:
            traceback.print_exc()
            os._exit(1)
        report.send({"crash": {"kind": "storage", "detail": f"{os.strerror(error.errno or 0)}"}})
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)  # nothing is left to write, and freeing a few hundred megabytes takes time


def _close_others(kept: set[int]) -> None:
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            with contextlib.suppress(OSError):
                os.close(int(name))


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


def lock_down(job: Json, parent: int) -> None:
    """Limits first, then what cannot be taken back; only the limits must succeed. No new privileges and no network since the template."""
    with open("/proc/self/statm", "rb") as file:
        held = int(file.read().split()[0]) * resource.getpagesize()  # what was mapped before the job counts for nobody
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, held + job["memory"]),
        (resource.RLIMIT_FSIZE, job["file_size"]),
        (resource.RLIMIT_NOFILE, job["open_files"]),
        (resource.RLIMIT_NPROC, PROCESSES),
    ):
        _, hard = resource.getrlimit(limit)
        resource.setrlimit(limit, (value, value) if hard == resource.RLIM_INFINITY else (min(value, hard), min(value, hard)))
    resource.setrlimit(resource.RLIMIT_CPU, (job["cpu_seconds"], job["cpu_seconds"] + 5))  # the hard limit is SIGKILL
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # the kernel takes the child, not the worker
        file.write("1000")
    landlock.restrict("." if job["task"] == "decode" else None, READABLE)


def _decode(job: Json, payload: bytes, report: Report) -> None:
    documents = json.loads(payload)
    source = FileSource(job["data_fd"], job["name"])
    databases = [Database.from_document(document) for document in documents]
    decode_recording(source, job["name"], databases, ".", Limits(**job["limits"]), report.progress)


def _compile(job: Json, payload: bytes, _report: Report) -> None:
    compiled = memoryview(Database.load(payload, job["name"]).to_json())
    while compiled:
        compiled = compiled[os.write(job["data_fd"], compiled) :]


TASKS: dict[str, Callable[[Json, bytes, Report], None]] = {"decode": _decode, "compile": _compile}
