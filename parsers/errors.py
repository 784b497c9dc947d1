"""What can be wrong with a file: every parser failure is one of these, with a stable code, a reason and the byte where it begins."""

from __future__ import annotations

from typing import ClassVar


class ParseError(Exception):
    """The file cannot be read.

    `reason` is a sentence for the engineer; `offset` is the byte in the file where the bad field begins, or None when no
    single byte is to blame. `code` is stable: clients and the database match on it, never on the sentence.
    """

    code: ClassVar[str] = "parse_error"

    def __init__(self, reason: str = "", offset: int | None = None) -> None:
        self.reason = reason or (type(self).__doc__ or "").strip()
        self.offset = offset
        super().__init__(self.reason if offset is None else f"{self.reason} at byte {offset}")

    def __reduce__(self) -> tuple[type[ParseError], tuple[str, int | None]]:
        return type(self), (self.reason, self.offset)


class Truncated(ParseError):
    """The file ends in the middle of a record."""

    code = "truncated"


class Corrupt(ParseError):
    """A field has a value that the format does not allow."""

    code = "corrupt"


class Unsupported(ParseError):
    """The file is well formed but uses something that Argus does not read."""

    code = "unsupported"


class UnknownFormat(ParseError):
    """The content is not of any format that Argus reads."""

    code = "unknown_format"


class Empty(ParseError):
    """The file has no bytes."""

    code = "empty_file"


class LimitExceeded(ParseError):
    """A record is larger than the limits allow."""

    code = "limit_exceeded"
