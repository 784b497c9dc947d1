"""Runs a parser in a child process that can do nothing but read one file and write one directory, and believes nothing it says.

The child is forked from a process that has imported every parser (parsers.nursery, parsers.template) and locks itself down (parsers.child).
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import stat
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from parsers import nursery
from parsers.can.database import COMPILED_FORMAT, Database
from parsers.errors import ParseError
from parsers.limits import DEFAULT, Limits
from parsers.results.check import BadSummary, check_summary
from parsers.results.layout import MESSAGES, OVERVIEW, STREAMS, SUMMARY

MIB = 1 << 20
LINE = 4096  # longest line of the child's report
CRASH_KINDS = ("memory", "storage")
END_SECONDS = 5.0  # between the last word of a child and its end


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """What one child may use. Bytes and seconds; CPU time grows with the file, `memory` counts from the start of the job."""

    memory: int = 2048 * MIB
    cpu_seconds: int = 60
    cpu_seconds_per_100_mb: int = 30
    wall_seconds: float = 6 * 3600
    stall_seconds: float = 120
    file_size: int = 16 * 1024 * MIB
    open_files: int = 1024
    stderr: int = 64 * 1024
    summary: int = 64 * MIB
    parser: Limits = DEFAULT


@dataclass(frozen=True, slots=True)
class Parsed:
    """The file was read; the results lie in the output directory."""

    summary: dict[str, Any]
    cpu_seconds: float
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The file is bad: a further try gives the same answer."""

    code: str
    reason: str
    offset: int | None


@dataclass(frozen=True, slots=True)
class Crashed:
    """The child did not finish.

    `kind`: signal, exit, memory, cpu, stall, wall, stderr, protocol (it said or left what a decoder never does), storage (the disk
    failed, not the file), cancelled (`on_progress` returned False); plugin (a package offers a parser that cannot be used) and start
    (no child could be started) say nothing about the file either.
    """

    kind: str
    detail: str
    stderr: str = ""


Outcome = Parsed | Refused | Crashed


class SandboxCrash(Exception):
    """The child that compiled a database did not finish; `outcome` says how it ended."""

    def __init__(self, outcome: Crashed) -> None:
        super().__init__(f"{outcome.kind}: {outcome.detail}")
        self.outcome = outcome


def run(
    input_fd: int,
    name: str,
    databases_json: bytes,
    out_dir: str | os.PathLike[str],
    limits: SandboxLimits = SandboxLimits(),
    on_progress: Callable[[int], bool] = lambda _bytes: True,
) -> Outcome:
    """Decodes the regular file behind `input_fd` into `out_dir`, an empty directory.

    `databases_json` is a JSON list of compiled databases (`join_databases`). `on_progress` gets the bytes read so far, at least once a
    second; when it returns False, or raises, the child is killed. Raises only what `on_progress` raises and OSError of this process.
    """
    size = os.fstat(input_fd).st_size
    job = {
        "task": "decode",
        "name": name,
        "limits": asdict(limits.parser),
        "cpu_seconds": limits.cpu_seconds + limits.cpu_seconds_per_100_mb * size // 100_000_000,
    }
    child = _Child(job, databases_json, input_fd, os.fspath(out_dir), limits, on_progress)
    ended = child.wait()
    if ended is not None:
        return ended
    try:
        summary = read_results(out_dir, limits.summary)
    except (BadSummary, OSError) as error:
        return Crashed("protocol", str(error)[:500], child.stderr_text())
    return Parsed(summary, child.cpu_seconds, child.peak_bytes)


def compile_database(dbc: bytes, name: str, limits: SandboxLimits = SandboxLimits()) -> tuple[bytes, list[str], dict[str, int]]:
    """(compiled database, warnings, {"messages": n, "signals": n}) of a DBC. Raises ParseError for a bad one, SandboxCrash."""
    output = os.memfd_create("compiled", os.MFD_CLOEXEC)
    try:
        job = {"task": "compile", "name": name, "cpu_seconds": limits.cpu_seconds}
        child = _Child(job, dbc, output, "/", limits, lambda _bytes: True)
        ended = child.wait()
        if isinstance(ended, Crashed):
            raise SandboxCrash(ended)
        if ended is not None:
            raise _error(ended)
        if os.fstat(output).st_size > limits.summary:
            raise SandboxCrash(Crashed("protocol", "compiled database too large"))
        os.lseek(output, 0, os.SEEK_SET)
        with os.fdopen(output, "rb", closefd=False) as file:
            compiled = file.read(limits.summary)
    finally:
        os.close(output)
    try:
        database = Database.from_json(compiled)
    except ParseError as error:
        raise SandboxCrash(Crashed("protocol", f"format {COMPILED_FORMAT}: {error.reason}"[:500])) from error
    counts = {"messages": len(database.messages), "signals": sum(len(message.signals) for message in database.messages)}
    return compiled, database.warnings, counts


def join_databases(databases: list[tuple[bytes, list[str] | None]]) -> bytes:
    """The list that `run` takes, from compiled databases and the bus names each is restricted to (None: every bus)."""
    documents = []
    for compiled, channels in databases:
        document = json.loads(compiled)
        document["channels"] = channels
        document["warnings"] = []
        documents.append(document)
    return json.dumps(documents, separators=(",", ":")).encode()


def _error(refused: Refused) -> ParseError:
    for kind in ParseError.__subclasses__():
        if kind.code == refused.code:
            return kind(refused.reason, refused.offset)
    return ParseError(refused.reason, refused.offset)


@dataclass
class _Child:
    """One running child: started on creation, ended by `wait`."""

    job: dict[str, Any]
    payload: bytes
    data_fd: int
    directory: str
    limits: SandboxLimits
    on_progress: Callable[[int], bool]
    bytes_read: int = 0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    _tick: int = -1
    _line: bytes = b""
    _stderr: bytearray = field(default_factory=bytearray)
    _verdict: Outcome | None = None
    _done: bool = False

    def wait(self) -> Refused | Crashed | None:
        """How the child ended; None when it says that it has done its work."""
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            report_in, report_out = _pipe(ours, theirs)
            stderr_in, stderr_out = _pipe(ours, theirs)
            job = _closing(theirs, os.memfd_create("job", os.MFD_CLOEXEC))
            folder = _closing(theirs, os.open(self.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            self._write_job(job)
            try:
                control = ours.enter_context(nursery.begin([job, report_out, stderr_out, folder, self.data_fd]))
            except nursery.CannotStart as error:
                return Crashed(error.kind, _plain(error.detail, 1000))
            theirs.close()  # or the pipes would not end with the child
            try:
                self._watch(report_in, stderr_in)
            except BaseException:
                self._crash("cancelled", "the caller failed")
                raise
            finally:
                status = self._reap(control)
        return self._judge(status)

    def _write_job(self, fd: int) -> None:
        limits = self.limits
        job = self.job | {"memory": limits.memory, "file_size": limits.file_size, "open_files": limits.open_files}
        data = memoryview(json.dumps(job).encode() + b"\n" + self.payload)
        while data:
            data = data[os.write(fd, data) :]
        os.lseek(fd, 0, os.SEEK_SET)

    def _watch(self, report_fd: int, stderr_fd: int) -> None:
        """Until both pipes are closed or the child has been killed."""
        started = moved = asked = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(report_fd, selectors.EVENT_READ, self._take_report)
            selector.register(stderr_fd, selectors.EVENT_READ, self._take_stderr)
            while selector.get_map() and self._verdict is None:
                tick = self._tick
                for key, _ in selector.select(max(0.0, asked + 0.9 - time.monotonic())):
                    data = os.read(key.fd, 65_536)
                    if data:
                        key.data(data)
                    else:
                        selector.unregister(key.fd)
                now = time.monotonic()
                if self._tick != tick:
                    moved = now
                if now >= asked + 0.9:
                    asked = now
                    if not self.on_progress(self.bytes_read):
                        self._verdict = Crashed("cancelled", "stopped by the caller")
                if now - started > self.limits.wall_seconds:
                    self._crash("wall", f"not finished after {self.limits.wall_seconds:g} s")
                elif now - moved > self.limits.stall_seconds:
                    self._crash("stall", f"no progress for {self.limits.stall_seconds:g} s")

    def _take_report(self, data: bytes) -> None:
        *lines, self._line = (self._line + data).split(b"\n")
        if len(self._line) > LINE or any(len(line) > LINE for line in lines):
            self._crash("protocol", "report line too long")
            return
        for line in lines:
            try:
                self._take_frame(json.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                self._crash("protocol", f"malformed report {line[:100]!r}")

    def _take_frame(self, frame: Any) -> None:
        if "bytes" in frame:
            self.bytes_read = _whole(frame["bytes"])
            self._tick = max(self._tick, _whole(frame["tick"]))
        elif "error" in frame:
            error = frame["error"]
            offset = None if error["offset"] is None else _whole(error["offset"])
            code = _plain(error["code"], 40)
            if self._verdict is None:
                self._verdict = Refused(code, _plain(error["reason"], 1000), offset)
        elif "crash" in frame:
            kind = frame["crash"]["kind"]
            self._crash(kind if kind in CRASH_KINDS else "protocol", _plain(frame["crash"]["detail"], 200))
        elif frame["done"] is True:
            self._done = True

    def _take_stderr(self, data: bytes) -> None:
        self._stderr += data
        if len(self._stderr) > self.limits.stderr:
            del self._stderr[self.limits.stderr :]
            self._crash("stderr", f"more than {self.limits.stderr} bytes on standard error")

    def _crash(self, kind: str, detail: str) -> None:
        if self._verdict is None:
            self._verdict = Crashed(kind, detail)

    def _reap(self, control: socket.socket) -> int | None:
        """The child's exit status, or minus its signal; None when nobody can tell. A child that is still there is killed, with everything
        in its session."""
        if self._verdict is None:
            # The pipes close a moment before the process is gone.
            control.settimeout(END_SECONDS)
            with contextlib.suppress(TimeoutError):
                return self._take_end(nursery.read_message(control))
            self._crash("protocol", "it lived on after it had closed its report")
        with contextlib.suppress(OSError):
            control.shutdown(socket.SHUT_WR)
        control.settimeout(None)
        return self._take_end(nursery.read_message(control))

    def _take_end(self, message: dict[str, Any]) -> int | None:
        if not message:
            return None
        self.cpu_seconds = float(message["cpu_seconds"])
        self.peak_bytes = int(message["peak_bytes"])
        return int(message["status"])

    def _judge(self, status: int | None) -> Refused | Crashed | None:
        text = self.stderr_text()
        if isinstance(self._verdict, Crashed):
            return Crashed(self._verdict.kind, self._verdict.detail, text)
        if isinstance(self._verdict, Refused):
            return self._verdict
        if status is None:
            return Crashed("exit", "the process that it was forked from ended", text)
        if status == -signal.SIGXCPU:
            return Crashed("cpu", f"more than {self.job['cpu_seconds']} s of CPU time", text)
        if status == -signal.SIGKILL:  # not by this process: the kernel, out of memory
            return Crashed("memory", "killed from outside, most likely for memory", text)
        if status < 0:
            return Crashed("signal", signal.Signals(-status).name, text)
        if "MemoryError" in text or "bad_alloc" in text:
            return Crashed("memory", "out of memory", text)
        if status != 0 or not self._done:
            return Crashed("exit", f"ended with status {status} before it was done", text)
        return None

    def stderr_text(self) -> str:
        """What the child wrote on standard error, without control characters."""
        return _plain(self._stderr.decode("utf-8", "replace"), self.limits.stderr)


def _closing(stack: contextlib.ExitStack, fd: int) -> int:
    stack.callback(os.close, fd)
    return fd


def _pipe(reading: contextlib.ExitStack, writing: contextlib.ExitStack) -> tuple[int, int]:
    reader, writer = os.pipe()
    return _closing(reading, reader), _closing(writing, writer)


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError("not a count")
    return value


def _plain(value: Any, longest: int) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return "".join(
        character if character.isprintable() or character == "\n" else "\N{REPLACEMENT CHARACTER}" for character in value[:longest]
    )


def read_results(out_dir: str | os.PathLike[str], longest: int) -> dict[str, Any]:
    """The checked summary of a result directory that holds exactly its files, all regular. Raises BadSummary or OSError."""
    directory = Path(out_dir)
    data = _read_regular(directory / SUMMARY, longest)
    try:
        summary = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadSummary(f"not JSON: {error}") from error
    check_summary(summary)
    # A recording that only counted its messages has none to store.
    expected = (
        {SUMMARY, OVERVIEW, STREAMS}
        | ({MESSAGES} if summary["message_levels"] else set())
        | {f"{STREAMS}/{stream['key']}.parquet" for stream in summary["streams"]}
    )
    found = set()
    for path in [*directory.iterdir(), *(directory / STREAMS).iterdir()]:
        name = path.relative_to(directory).as_posix()
        mode = path.lstat().st_mode
        if not (stat.S_ISDIR(mode) if name == STREAMS else stat.S_ISREG(mode)):
            raise BadSummary(f"{name!r} is not a regular file")
        found.add(name)
    if found != expected:
        raise BadSummary(f"files do not fit the summary: {sorted(found ^ expected)[:5]}")
    result: dict[str, Any] = summary
    return result


def _read_regular(path: Path, longest: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > longest:
            raise BadSummary(f"{path.name} is not a regular file of at most {longest} bytes")
        return file.read(longest)
