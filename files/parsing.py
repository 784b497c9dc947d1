"""Parses one file: claims it with a lease and a fence, runs the parser in its sandbox, stores the result under the attempt's own prefix."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import OperationalError
from django.db.models import BooleanField, Case, F, Q, Value, When
from django.db.models.functions import Now

from common.clock import EPOCH, from_now
from common.errors import DiskFull, NotFound, StorageUnavailable
from common.heartbeat import Heartbeat
from files import brief, storage
from files.models import ErrorClass, File, FileState
from parsers import sandbox

log = structlog.get_logger("argus.parsing")

MAX_CRASHES = 3
CRASH_BACKOFF = (timedelta(seconds=10), timedelta(seconds=60), timedelta(seconds=300))
RESULT, BETTER = "result", "better"  # folders of the first run and of the one with the chosen databases
NAMED = 20  # attachments, undecoded topics and facts of metadata in the row of a file
SHORTEST_DELAY = timedelta(seconds=1)
INFRA_BACKOFF_FIRST = timedelta(seconds=10)
INFRA_BACKOFF_LONGEST = timedelta(hours=1)

# What a crash of the child means to the people who read it.
CRASH_SENTENCES = {
    "memory": "The parser needed more memory than it may use.",
    "cpu": "The parser needed more computing time than it may use.",
    "stall": "The parser made no progress and was stopped.",
    "wall": "The parser took longer than it may take.",
    "signal": "The parser crashed.",
    "exit": "The parser ended without a result.",
    "protocol": "The parser gave a result that is not valid.",
    "stderr": "The parser wrote more errors than it may write.",
}

# What keeps every parser from starting says nothing about the file.
NOT_STARTED = {
    "plugin": "A parser that was added to this installation cannot be used.",
    "start": "The parser could not be started.",
}


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to parse one file until the lease ends; `fence` proves it at every write."""

    file_id: UUID
    fence: int
    attempt: int
    crash_count: int
    name: str
    storage_key: str


@dataclass(frozen=True, slots=True)
class Databases:
    """Signal databases as the parser takes them, and what people call them."""

    compiled: bytes = b"[]"
    names: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Exhausted:
    """The file has taken down its worker too often; nobody parses it again."""

    file_id: UUID
    fence: int


@dataclass(frozen=True, slots=True)
class NotDue:
    """The file waits for a later attempt. The doorbell came early: the queue goes by a host's clock, the file by the database's."""

    delay: timedelta


@dataclass(frozen=True, slots=True)
class Readable:
    """The file was parsed; its result is stored."""

    result_key: str
    summary: dict[str, Any]
    databases: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The file gives no result: the same bytes would fail again, or have crashed the parser too often."""

    error_class: ErrorClass
    code: str
    reason: str
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Nothing is known about the file yet; it goes back to the queue after `delay`."""

    error_class: ErrorClass
    code: str
    reason: str
    delay: timedelta


@dataclass(frozen=True, slots=True)
class Lost:
    """The lease went to somebody else, or the batch was stopped: the output is dropped."""


Outcome = Readable | Unreadable | TryAgain | Lost


def claim(file_id: UUID, worker: str) -> Claim | NotDue | Exhausted | None:
    """Take the file for one attempt; None when there is nothing to do. The caller is in a transaction and holds the batch locked.

    The attempt is counted here, before a byte is read: a file that kills its worker cannot come back uncounted.
    """
    file = (
        File.objects.select_for_update()
        .annotate(
            now=Now(),
            is_due=_truth(Q(next_attempt_at__lte=Now())),
            is_expired=_truth(Q(lease_until__lt=Now())),
        )
        .filter(pk=file_id, superseded_by__isnull=True)
        .first()
    )
    if file is None or file.state not in (FileState.PENDING, FileState.PARSING):
        return None
    if not file.is_due:
        return NotDue(max(file.next_attempt_at - file.now, SHORTEST_DELAY))
    crashed = False
    if file.state == FileState.PARSING:
        if not file.is_expired:
            return None
        crashed = file.lease_until > EPOCH  # a lease that was given back is EPOCH, one that ran out is a crash
        if file.crash_count + int(crashed) >= MAX_CRASHES:
            fence = file.fence + 1
            File.objects.filter(pk=file_id).update(fence=fence, crash_count=MAX_CRASHES, lease_until=EPOCH)
            return Exhausted(file_id, fence)
    else:
        file.begin_parsing()
        file.save(update_fields=["state"])
    fence, crash_count = file.fence + 1, file.crash_count + int(crashed)
    File.objects.filter(pk=file_id).update(
        fence=fence,
        attempt=F("attempt") + 1,
        crash_count=crash_count,
        lease_until=from_now(timedelta(seconds=settings.ARGUS_LEASE_SECONDS)),
        worker=worker,
        progress_bytes=0,
        started_at=Now(),
    )
    return Claim(file_id, fence, file.attempt + 1, crash_count, file.name, file.storage_key)


def parse(claimed: Claim, databases: Databases, choose: Callable[[dict[str, Any]], Databases | None]) -> Outcome:
    """Parse the claimed file with the `databases`; the result lies in storage, no row has been changed but the lease.

    `choose` looks at the summary of what was parsed and may name other databases: then the file is parsed once more with those, in the
    time that is left. If that fails the first result stands: a guess costs no file.
    """
    progress, started = 0, time.monotonic()

    def beat() -> bool:
        return renew(claimed, progress)

    def on_progress(done: int) -> bool:
        nonlocal progress
        progress = done
        return not heart.lost

    limits = sandbox.SandboxLimits(wall_seconds=settings.PARSE_SECONDS, stall_seconds=settings.ARGUS_STALL_SECONDS)
    try:
        with (
            Heartbeat(beat, longest=settings.PARSE_SECONDS + settings.ARGUS_STALL_SECONDS) as heart,
            tempfile.TemporaryDirectory(prefix="argus-parse-") as folder,
        ):
            with storage.open_fd(claimed.storage_key) as fd:
                result = _subfolder(folder, RESULT)
                outcome = sandbox.run(fd, claimed.name, databases.compiled, result, limits, on_progress)
                better = choose(outcome.summary) if isinstance(outcome, sandbox.Parsed) and not heart.lost else None
                if better is not None:
                    second = _subfolder(folder, BETTER)
                    rest = replace(limits, wall_seconds=max(limits.wall_seconds - (time.monotonic() - started), 1))
                    again = sandbox.run(fd, claimed.name, better.compiled, second, rest, on_progress)
                    if isinstance(again, sandbox.Parsed):
                        outcome, databases, result = again, better, second
                    else:
                        log.warning("parsing with the chosen databases failed", databases=better.names, outcome=str(again)[:500])
            if heart.lost:
                return Lost()
            if isinstance(outcome, sandbox.Parsed):
                result_key = f"results/{claimed.file_id}/{claimed.fence}"
                storage.put_folder(result_key, result)
                return Lost() if heart.lost else Readable(result_key, outcome.summary, databases.names)
    except NotFound:
        return Unreadable(ErrorClass.INPUT, "object_missing", "The stored object is gone.")
    except (StorageUnavailable, DiskFull) as error:
        return TryAgain(ErrorClass.INFRA, "storage_unavailable", error.detail, infra_delay(claimed.attempt))
    except (OperationalError, OSError):
        # Their own words may name hosts and folders: those are for the log, not for the history of the batch.
        log.warning("parse interrupted", file=str(claimed.file_id), exc_info=True)
        return TryAgain(ErrorClass.INFRA, "worker_trouble", "The worker's disk or the database failed.", infra_delay(claimed.attempt))
    return judge(outcome, claimed)


def _subfolder(folder: str, name: str) -> Path:
    """An empty folder for a result."""
    result = Path(folder) / name
    result.mkdir(mode=0o700)
    return result


def judge(outcome: sandbox.Refused | sandbox.Crashed, claimed: Claim) -> Outcome:
    """What a refusal or a crash of the child means for the file."""
    if isinstance(outcome, sandbox.Refused):
        return Unreadable(ErrorClass.INPUT, outcome.code, outcome.reason, outcome.offset)
    if outcome.kind == "cancelled":
        return Lost()
    if outcome.kind == "storage":
        return TryAgain(ErrorClass.INFRA, "disk_full", outcome.detail, infra_delay(claimed.attempt))
    if outcome.kind in NOT_STARTED:
        reason = f"{NOT_STARTED[outcome.kind]} {outcome.detail}"
        return TryAgain(ErrorClass.INFRA, f"parser_{outcome.kind}", reason, infra_delay(claimed.attempt))
    reason = f"{CRASH_SENTENCES.get(outcome.kind, 'The parser crashed.')} {outcome.detail}".strip()
    code = f"parser_{outcome.kind}"
    if claimed.crash_count + 1 >= MAX_CRASHES:
        return Unreadable(ErrorClass.CRASH, code, f"{reason} It was tried {MAX_CRASHES} times.")
    return TryAgain(ErrorClass.CRASH, code, reason, CRASH_BACKOFF[claimed.crash_count])


def renew(claimed: Claim, progress_bytes: int) -> bool:
    """Renew the lease; False when it is no longer this attempt's."""
    return bool(_mine(claimed).update(lease_until=from_now(timedelta(seconds=settings.ARGUS_LEASE_SECONDS)), progress_bytes=progress_bytes))


def release(claimed: Claim, again: TryAgain) -> bool:
    """Give the file back for a later attempt; False when it is no longer this attempt's. The caller is in a transaction."""
    return bool(
        _mine(claimed).update(
            lease_until=EPOCH,
            fence=F("fence") + 1,
            crash_count=F("crash_count") + int(again.error_class == ErrorClass.CRASH),
            next_attempt_at=from_now(again.delay),
        )
    )


def facts(summary: dict[str, Any]) -> dict[str, Any]:
    """The part of a summary that lists and pages show without opening the result."""
    return {
        "time": summary["time"],
        "frames": summary["frames"],
        "samples": summary["samples"],
        "messages": summary["message_count"],
        "message_levels": summary["message_levels"],
        "undecoded": brief.entries(summary["undecoded"], NAMED),
        "attachments": brief.attachments(summary["attachments"], NAMED),
        "metadata": brief.entries(summary["metadata"], NAMED),
        "coverage": summary["coverage"],
        "streams": len(summary["streams"]),
        "signals": sum(len(stream["signals"]) for stream in summary["streams"]),
        "fault_codes": len(summary["fault_codes"]),
        "skipped": summary["skipped"],
        "problem_count": summary["problem_count"],
        "lost": summary["lost"][:20],
        "lost_bytes": sum(lost["length"] for lost in summary["lost"]),
    }


def infra_delay(attempt: int) -> timedelta:
    """Doubles with every attempt, from ten seconds to an hour."""
    return min(INFRA_BACKOFF_FIRST * 2 ** min(attempt - 1, 12), INFRA_BACKOFF_LONGEST)


def _mine(claimed: Claim) -> Any:
    return File.objects.filter(pk=claimed.file_id, fence=claimed.fence, state=FileState.PARSING, superseded_by__isnull=True)


def _truth(condition: Q) -> Case:
    """A condition as a column, evaluated by the database's clock."""
    return Case(When(condition, then=Value(True)), default=Value(False), output_field=BooleanField())
