"""The only package that touches bytes: objects under keys, on a local disk or in an S3 store, as STORAGES["default"] says.

Keys: `raw/<batch>/<file>`, `results/<file>/<fence>/...`, `results/batches/<batch>/<fence>/...`.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from django.core.files.storage import FileSystemStorage, storages

from common.errors import BadObject, FileTooLarge
from files.storage.chunks import Counted, Received
from files.storage.errors import typed
from files.storage.local import PART, Local

if TYPE_CHECKING:
    from storages.backends.s3 import S3Storage

__all__ = [
    "Received",
    "delete",
    "delete_prefix",
    "exists",
    "open_fd",
    "open_file",
    "put_folder",
    "read_bytes",
    "receive",
    "write_bytes",
]

KEY_BYTES = 900  # S3 takes 1,024 bytes, `.part` and a prefix included


# -- what others call ------------------------------------------------------------------------------------------------


def receive(
    key: str, chunks: Iterable[bytes], *, limit: int, expected: int | None = None, on_progress: Callable[[int], None] | None = None
) -> Received:
    """Store what `chunks` yields under the new `key`, hashing on the way; memory use does not depend on the length.

    `limit`: most bytes allowed. `expected`: announced length, refused at once when there is no room for it.
    `on_progress(bytes so far)` is called after each chunk, in the caller's thread.
    Raises FileTooLarge, DiskFull, StorageUnavailable, FileExists, and whatever `chunks` or `on_progress` raise;
    after an error nothing is stored.
    """
    counted = Counted(chunks, limit, on_progress)
    _backend().receive(_checked(key), counted, expected or 0)
    return Received(counted.size, counted.digest.hexdigest())


@contextlib.contextmanager
def open_fd(key: str) -> Iterator[int]:
    """A read-only descriptor of a regular file with the object's bytes, closed at the end of the block.

    An object in S3 is downloaded to a file without a name. Raises NotFound, BadObject, DiskFull, StorageUnavailable.
    """
    descriptor = _backend().open_fd(_checked(key))
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_file(key: str) -> BinaryIO:
    """A seekable binary file for reading; from S3 it fetches only the ranges that are read. The caller closes it.

    Raises NotFound, BadObject, StorageUnavailable; from S3 also while reading.
    """
    return _backend().open_file(_checked(key))


def read_bytes(key: str, limit: int) -> bytes:
    """The whole object; FileTooLarge when it has more than `limit` bytes, and the errors of `open_file`."""
    with open_file(key) as file, typed(key):
        content = file.read(limit + 1)
    if len(content) > limit:
        raise FileTooLarge(f"The stored object has more than {limit} bytes.")
    return content


def write_bytes(key: str, data: bytes) -> None:
    """Store `data` under `key`, in place of what was there; readers see the old or the new bytes, never a part."""
    _backend().write(_checked(key), io.BytesIO(data))


def put_folder(prefix: str, folder: Path) -> None:
    """Store every regular file below `folder` under `prefix/<path below folder>`.

    Raises BadObject for a symlink or special file, and then stores nothing.
    """
    backend = _backend()
    for name in _plain_files(folder):
        key = _checked(f"{prefix}/{name}")
        with open(os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as source:
            backend.write(key, source)


def exists(key: str) -> bool:
    """Is there an object under `key`?"""
    return _backend().exists(_checked(key))


def delete(key: str) -> None:
    """Remove the object, and what a broken upload left of it; not an error if there is none."""
    _backend().delete(_checked(key))


def delete_prefix(prefix: str) -> None:
    """Remove every object whose key starts with `prefix/`, with old versions and unfinished uploads; returns when none is left."""
    if "/" not in prefix.strip("/"):
        raise ValueError(f"{prefix!r} is the prefix of everything")
    _backend().delete_prefix(_checked(prefix.rstrip("/")))


# -- keys and places ---------------------------------------------------------------------------------------------------


class _Backend(Protocol):
    """What a place for objects can do; keys are checked before."""

    def receive(self, key: str, chunks: Counted, expected: int) -> None: ...
    def write(self, key: str, source: BinaryIO) -> None: ...
    def open_fd(self, key: str) -> int: ...
    def open_file(self, key: str) -> BinaryIO: ...
    def exists(self, key: str) -> bool: ...
    def delete(self, key: str) -> None: ...
    def delete_prefix(self, prefix: str) -> None: ...


def _backend() -> _Backend:
    """Asked for at each call: tests and operators change the setting."""
    storage = storages["default"]
    if isinstance(storage, FileSystemStorage):
        return Local(Path(storage.location))
    from files.storage.s3 import S3  # boto3 takes a moment to import, and not everybody needs it

    return S3(cast("S3Storage", storage))


def _checked(key: str) -> str:
    """The key, if each of its parts is a plain name: a key is made by Argus, a wrong one is a bug."""
    parts = key.split("/")
    if any(part in {"", ".", ".."} or part.endswith(PART) for part in parts) or "\0" in key or "\\" in key or len(key.encode()) > KEY_BYTES:
        raise ValueError(f"not a storage key: {key!r}")
    return key


def _plain_files(folder: Path) -> list[str]:
    """Paths of all regular files below `folder`, relative to it, sorted."""
    names = []
    for root, folders, files in os.walk(folder):
        for entry in (*folders, *files):
            path = Path(root, entry)
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                names.append(path.relative_to(folder).as_posix())
            elif not stat.S_ISDIR(mode):
                raise BadObject(f"{entry!r} is not a regular file.")
    return sorted(names)
