"""What can go wrong, by what has to be done about it, and the exit codes of the program."""

from __future__ import annotations

from enum import IntEnum
from typing import Any


class Exit(IntEnum):
    """Exit codes; a service manager should not restart on BAD_CONFIG, NOT_ALLOWED and REJECTED."""

    OK = 0
    FAILED = 1
    BAD_CONFIG = 2
    NOT_ALLOWED = 3
    LEFT = 4
    REFUSED = 5
    LOCKED = 6
    LOCAL = 7
    REJECTED = 8
    INTERRUPTED = 130


class UploaderError(Exception):
    """Something that ends the program; the sentence says what to do, `exit_code` goes to the shell."""

    exit_code = Exit.FAILED


class BadConfig(UploaderError):
    """An option, the configuration file or the token file is not as it must be."""

    exit_code = Exit.BAD_CONFIG


class NotAllowed(UploaderError):
    """The server does not accept the token, or the token lacks a right."""

    exit_code = Exit.NOT_ALLOWED


class Locked(UploaderError):
    """Another uploader works on this spool or with this state folder."""

    exit_code = Exit.LOCKED


class LocalTrouble(UploaderError):
    """The vehicle's own disk refuses: full, read-only, broken, or not ours."""

    exit_code = Exit.LOCAL


class Rejected(UploaderError):
    """The enrolment was rejected."""

    exit_code = Exit.REJECTED


class Stopped(Exception):
    """Somebody asked the program to end."""


class Preempted(Exception):
    """Something more important has come into the spool."""


class TryLater(Exception):
    """The same request may succeed later.

    `after_s` is how long the server wants us to wait (None: it did not say). `whole_server` is False where only this batch is concerned.
    """

    def __init__(self, reason: str, after_s: float | None = None, *, whole_server: bool = True) -> None:
        super().__init__(reason)
        self.after_s = after_s
        self.whole_server = whole_server


class Problem(Exception):
    """An error answer of the API (RFC 9457) that is final for this request; `extra` has the other members of the document."""

    def __init__(self, status: int, document: dict[str, Any], headers: dict[str, str]) -> None:
        self.status = status
        self.code = str(document.get("code") or "")
        self.extra = document
        self.headers = headers
        detail = str(document.get("detail") or document.get("title") or "")
        action = str(document.get("action") or "")
        super().__init__(
            " ".join(part for part in (f"{status} {self.code}:".replace(" :", ":"), detail, f"({action})" if action else "") if part)
        )
