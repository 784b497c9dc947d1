"""A file of the spool while it is read: only this version of it, and never through a link."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

from argus_uploader.link import read_chunks

HASH_CHUNK = 1024 * 1024


class Changed(Exception):
    """The file is not the version any more that was to be sent; the sentence says how it differs."""


class Source:
    """An open file whose size and time (ns) are known. Changed as soon as they are others."""

    def __init__(self, path: Path, size: int, mtime_ns: int) -> None:
        self._known = (size, mtime_ns)
        self.size = size
        try:
            handle = os.open(str(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            raise Changed("it is gone") from None
        except OSError as error:
            raise Changed(f"it cannot be opened: {error.strerror}") from error
        self._file = os.fdopen(handle, "rb", buffering=0)
        try:
            self.check()
        except Changed:
            self._file.close()
            raise

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *raised: object) -> None:
        self._file.close()

    def check(self) -> None:
        """Raises Changed if somebody has written to the file."""
        found = os.fstat(self._file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise Changed("it is no regular file any more")
        if (found.st_size, found.st_mtime_ns) != self._known:
            raise Changed("it was changed")

    def chunks(self, offset: int, size: int, chunk: int) -> Iterator[memoryview]:
        """`size` bytes from `offset` on. Changed where the file ends before, or the disk does not give them."""
        self._file.seek(offset)
        left = size
        for part in read_chunks(self._read, size, chunk):
            yield part
            left -= len(part)
        if left:
            raise Changed("it has become shorter")

    def _read(self, buffer: Any) -> int | None:
        try:
            return self._file.readinto(buffer)
        except OSError as error:
            raise Changed(f"it cannot be read: {error.strerror}") from error

    def digest(self, algorithm: str, offset: int, size: int, checkpoint: Callable[[], None] = lambda: None) -> bytes:
        """The digest of a range."""
        state = hashlib.new(algorithm)
        for part in self.chunks(offset, size, HASH_CHUNK):
            state.update(part)
            checkpoint()
        return state.digest()

    def sha256(self, checkpoint: Callable[[], None] = lambda: None) -> str:
        """SHA-256 of the whole in hexadecimal; Changed where somebody has written meanwhile."""
        found = self.digest("sha256", 0, self.size, checkpoint)
        self.check()
        return found.hex()
