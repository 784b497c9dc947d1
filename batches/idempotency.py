"""Calls that are answered once: what a repeated Idempotency-Key gets, whether the first answer arrived or was lost."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from django.db import transaction

from batches.models import KeptAnswer
from common.clock import from_now
from common.errors import IdempotencyMismatch, InProgress

KEPT_FOR = timedelta(days=30)  # vehicles sleep for weeks
FORGOTTEN_AT_ONCE = 1000
# Refusals that tell of how things stand and not of the request: said again later, it may be granted.
PASSING_STATUSES = (404, 409, 410, 423, 429)
PASSING_CODES = ("batch_empty", "batch_full")


@dataclass(frozen=True, slots=True)
class Call:
    """Who calls, with which key, and the SHA-256 (hex) of what is asked."""

    principal: str
    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call was answered with; `code` is that of a refusal."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    code: str = ""

    @property
    def lasts(self) -> bool:
        """Would the same request be answered so at any time? Only then it is kept."""
        if self.status < 400:
            return True
        return self.status < 500 and self.status not in PASSING_STATUSES and self.code not in PASSING_CODES


def fingerprint(*parts: bytes) -> str:
    """SHA-256 (hex) of the parts, each with its length: no two lists of parts look alike."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.hexdigest()


def once(call: Call, effect: Callable[[], Answer]) -> tuple[Answer, bool]:
    """The answer of `effect`, or the one that an earlier call with this key has got, and whether it is that one.

    The answer is kept in the transaction of the effect, so that neither is there without the other: `effect` does nothing but database
    work, what else there is to do comes after. Whatever it raises undoes it. Raises IdempotencyMismatch, InProgress.
    """
    with transaction.atomic():
        _take_turn(call)
        kept = KeptAnswer.objects.filter(principal=call.principal, key=call.key).first()
        if kept is not None:
            if kept.fingerprint != call.fingerprint:
                raise IdempotencyMismatch
            return Answer(kept.status, zlib.decompress(kept.body), kept.headers), True
        answer = effect()
        if answer.lasts:
            KeptAnswer.objects.create(
                principal=call.principal,
                key=call.key,
                fingerprint=call.fingerprint,
                status=answer.status,
                headers=answer.headers,
                body=zlib.compress(answer.body, 1),
            )
    return answer, False


def forget_old() -> int:
    """Drop up to 1,000 answers that nobody will ask for any more; their number. For the sweep."""
    old = KeptAnswer.objects.filter(created_at__lt=from_now(-KEPT_FOR)).values_list("pk", flat=True)[:FORGOTTEN_AT_ONCE]
    return KeptAnswer.objects.filter(pk__in=list(old)).delete()[0]


def _take_turn(call: Call) -> None:
    """Hold the key until the end of the transaction; InProgress while another call holds it.

    On SQLite the transaction itself has the write lock from its first statement: the other call waits, and finds the kept answer.
    """
    connection = transaction.get_connection()
    if connection.vendor != "postgresql":
        return
    number = int.from_bytes(hashlib.sha256(f"{call.principal} {call.key}".encode()).digest()[:8], "big", signed=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [number])
        if not cursor.fetchone()[0]:
            raise InProgress
