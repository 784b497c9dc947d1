"""What the bytes of an unfinished upload can do, in whatever place they lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

Bytes = bytes | bytearray | memoryview


class Part(Protocol):
    """The bytes of one unfinished upload, held by one writer at a time.

    Not safe for threads. After an error of `write` or `sync` the bytes since the last `sync` are doubtful: the writer truncates to there.
    """

    size: int
    """Where the bytes end."""
    published: bool
    """The object is there under its key, because a publisher was killed before it could say so; then `size` is the object's."""
    readable: bool
    """`read` works before `publish`; otherwise only the published object can be read."""
    remote_id: str
    """What the row has to keep for the next `open_part`; empty on a local disk."""

    def write(self, buffer: Bytes) -> None:
        """Append the bytes; the buffer is used again after the call. Raises DiskFull, StorageUnavailable, UploadLost."""

    def sync(self) -> None:
        """Returns when everything up to `size` would survive a power cut. Raises DiskFull, StorageUnavailable, UploadLost."""

    def truncate(self, size: int) -> None:
        """Cut back to `size`, which no `sync` has gone past. Raises StorageUnavailable."""

    def discard(self) -> None:
        """Remove the bytes, published or not: `size` is 0 then, and writing begins anew. Raises StorageUnavailable."""

    def read(self) -> Iterator[memoryview]:
        """All bytes from the start, in buffers that are valid until the next step; see `readable`. Raises StorageUnavailable."""

    def publish(self) -> None:
        """Make the object of exactly these bytes appear under the key, durably, in place of nothing; again has no effect.

        Raises FileExists when the key has another object, DiskFull, StorageUnavailable, UploadLost.
        """


def always() -> None:
    """The check of a writer that nobody can evict."""


def forget(remote_id: str) -> None:
    """For a writer that needs no remote id later."""


Check = Callable[[], None]
"""Raises UploadLost when the writer has been evicted, and keeps it from being evicted for a while.

A store asks before it makes anything visible to others, and every second while it sends.
"""
Keep = Callable[[str], None]
"""Keeps a new remote id in the row before anything is stored under it."""
