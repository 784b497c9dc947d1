"""The process that the children of the sandbox are forked from: it has imported every parser, so that a child costs a fork, not a start.

It has one thread, no secret and no network, reads no file of a vehicle, and lives as long as the worker that started it (parsers.nursery).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import selectors
import signal
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWNET = 0x4000_0000
NO_CAPABILITIES = struct.pack("=Ii", 0x2008_0522, 0), bytes(24)  # header (version 3, this process) and data of capset(2)
DESCRIPTORS = 6  # of a job: control, job, report, standard error, folder, data
IDLE_SECONDS = 600.0
REQUEST = 16  # bytes of a request at most; what counts are its descriptors


@dataclass(slots=True)
class Job:
    """A child and the socket to whoever asked for it: its closing is the order to kill, the last message says how the child ended."""

    pid: int
    control: socket.socket
    killed: bool = False

    def kill(self) -> None:
        """Ends the child and all of its session. It is not reaped yet, so the number is still its own."""
        self.killed = True
        for kill in (os.kill, os.killpg):  # the group is there when the child has made its session
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(self.pid, signal.SIGKILL)


class Template:
    """Forks a child for each request that comes through `channel`."""

    def __init__(self, channel: socket.socket, child: Callable[[list[int], int], NoReturn]) -> None:
        self.channel = channel
        self.child = child
        self.jobs: dict[int, Job] = {}
        self.open = True
        self.selector = selectors.DefaultSelector()
        self.woken, self.wake = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(self.woken, False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(self.wake, warn_on_full_buffer=False)
        self.selector.register(self.woken, selectors.EVENT_READ, self.reap)
        self.selector.register(channel, selectors.EVENT_READ, self.take)

    def serve(self) -> None:
        """Until the worker is gone, or nothing has been asked for a while, or a child was ended by a signal: whoever tries to find out
        where things lie in memory, one crash after the other, meets them in another place each time."""
        while self.open or self.jobs:
            ready = self.selector.select(None if self.jobs else IDLE_SECONDS)
            if not ready and not self.jobs:
                return
            for key, _ in ready:
                key.data()

    def close(self) -> None:
        """Takes no more requests; those that are under way are finished."""
        if self.open:
            self.open = False
            self.selector.unregister(self.channel)
            self.channel.close()

    def take(self) -> None:
        """A request, or the end of the worker."""
        try:
            message, fds, _, _ = socket.recv_fds(self.channel, REQUEST, DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
        except ConnectionError:
            message, fds = b"", []
        if not message:
            for job in self.jobs.values():
                job.kill()
            self.close()
        elif len(fds) == DESCRIPTORS:
            self.fork(fds)
        else:
            for fd in fds:
                os.close(fd)

    def fork(self, fds: list[int]) -> None:
        """Starts a child with the descriptors. `started` or why not goes back."""
        control = socket.socket(fileno=fds[0])
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            answer(control, {"failed": os.strerror(error.errno or 0)})
            control.close()
            return
        finally:
            if os.getpid() == parent:
                for fd in fds[1:]:
                    os.close(fd)
        if pid == 0:
            try:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                self.child(fds[1:], parent)
            finally:
                os._exit(1)
        job = self.jobs[pid] = Job(pid, control)
        self.selector.register(control, selectors.EVENT_READ, lambda: self.stop(job))
        answer(control, {"started": pid})

    def stop(self, job: Job) -> None:
        """The asker has closed its end, or asks for the end."""
        self.selector.unregister(job.control)
        job.kill()

    def reap(self) -> None:
        """Tells how children ended: wait status, CPU seconds, peak memory in bytes."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.woken, 4096)
        for job in list(self.jobs.values()):
            if os.waitid(os.P_PID, job.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                continue
            asked = job.killed
            job.kill()  # what it may have left behind in its session
            _, status, usage = os.wait4(job.pid, 0)
            del self.jobs[job.pid]
            with contextlib.suppress(KeyError):
                self.selector.unregister(job.control)
            # ru_maxrss is the child's own: only exec hands on what the parent held before (getrusage(2)).
            used = {"cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_bytes": usage.ru_maxrss * 1024}
            answer(job.control, {"status": os.waitstatus_to_exitcode(status), **used})
            job.control.close()
            if os.WIFSIGNALED(status) and not asked:
                self.close()


def answer(control: socket.socket, message: dict[str, object]) -> None:
    """To whoever may have gone."""
    with contextlib.suppress(OSError):
        control.send(json.dumps(message).encode())


def isolate() -> None:
    """No new privileges, no network and no capabilities for this process and its children, where the kernel allows it; and nobody of the
    same user may look into its memory. One thread only may do this."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.unshare(CLONE_NEWUSER | CLONE_NEWNET)
    libc.capset(*NO_CAPABILITIES)
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def load() -> Callable[[list[int], int], NoReturn]:
    """Imports whatever a child may need, parsers of other packages too, and returns what a child runs."""
    from parsers import child
    from parsers.registry import parsers

    parsers()
    return child.main


def main() -> None:
    """Serves the socket that is its standard input. Ends the process."""
    channel = socket.socket(fileno=0)
    isolate()
    try:
        child = load()
    except Exception as error:
        from parsers.registry import BadPlugIn

        plugin = isinstance(error, BadPlugIn)
        detail = str(error) if plugin else f"{type(error).__name__}: {error}"
        answer(channel, {"failed": "plugin" if plugin else "start", "detail": detail[:1000]})
        sys.exit(1)
    gc.collect()
    gc.freeze()  # a collection in a child must not touch, and so copy, what it shares with this process
    answer(channel, {"ready": os.getpid()})
    Template(channel, child).serve()
    os._exit(0)
