"""Bytes as they pass on their way into an object."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from common.errors import FileTooLarge

BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Received:
    """What came: its length in bytes and its SHA-256 (hex)."""

    size: int
    sha256: str


class Counted:
    """Chunks, with their bytes counted and hashed as they pass, and no more of them than the limit."""

    def __init__(self, chunks: Iterable[bytes], limit: int, on_progress: Callable[[int], None] | None) -> None:
        self.chunks, self.limit, self.on_progress = chunks, limit, on_progress
        self.size, self.digest = 0, hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self.chunks:
            self.size += len(chunk)
            if self.size > self.limit:
                raise FileTooLarge(f"The file has more than {self.limit} bytes.", limit=self.limit)
            self.digest.update(chunk)
            yield chunk
            if self.on_progress:
                self.on_progress(self.size)
