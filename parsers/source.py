"""Where the bytes come from: a parser sees a size and `read_at`, never a path, a socket or an object store."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from parsers.errors import Unsupported


class Source(Protocol):
    """Random access to the bytes of one file. `read_at` is called by parsers with ascending offsets where they can."""

    @property
    def size(self) -> int:
        """Bytes in the file; constant while it is read."""

    @property
    def name(self) -> str:
        """The name that the file was given by its sender; only for detection ties and messages."""

    def read_at(self, offset: int, length: int) -> bytes | memoryview:
        """The bytes from `offset` on: exactly `length`, fewer only where the file ends. Raises OSError when storage fails."""


class BytesSource:
    """A file that is already in memory."""

    def __init__(self, data: bytes | bytearray | memoryview, name: str = "") -> None:
        self._data = memoryview(data).cast("B")
        self.name = name
        self.size = len(self._data)

    def read_at(self, offset: int, length: int) -> memoryview:
        """The bytes from `offset` on, without a copy."""
        if offset < 0 or length < 0:
            raise ValueError("offset and length must not be negative")
        return self._data[offset : offset + length]


class FileSource:
    """A regular file, by path or by an open descriptor (which stays the caller's to close)."""

    def __init__(self, path_or_fd: str | os.PathLike[str] | int, name: str | None = None) -> None:
        """Opens without following a link in the last place. Raises OSError, or Unsupported when it is no regular file."""
        self._owned = not isinstance(path_or_fd, int)
        if isinstance(path_or_fd, int):
            self._fd = path_or_fd
        else:
            # O_NONBLOCK: opening a named pipe must fail the check below instead of waiting for its writer.
            self._fd = os.open(path_or_fd, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            self.size = _regular_size(self._fd)
        except BaseException:
            self.close()
            raise
        self.name = name if name is not None else ("" if isinstance(path_or_fd, int) else Path(path_or_fd).name)

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset` on; a short `pread` is continued until the file ends."""
        length = max(0, min(length, self.size - offset))
        data = os.pread(self._fd, length, offset)
        if len(data) == length:
            return data
        pieces = [data]
        have = len(data)
        while data and have < length:
            data = os.pread(self._fd, length - have, offset + have)
            pieces.append(data)
            have += len(data)
        return b"".join(pieces)

    def close(self) -> None:
        """Closes the descriptor if it was opened here; twice is harmless."""
        if self._owned and self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _regular_size(fd: int) -> int:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise Unsupported("not a regular file")
    return status.st_size
