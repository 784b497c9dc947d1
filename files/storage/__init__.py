"""The only package that touches bytes: objects under keys, on a local disk or in an S3 store, as STORAGES["default"] says.

Keys: `raw/<batch>/<file>`, `results/<file>/<fence>/...`, `results/batches/<batch>/<fence>/...`.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from django.core.files.storage import FileSystemStorage, storages

from common.errors import BadObject, FileTooLarge
from files.storage.chunks import Received
from files.storage.errors import typed
from files.storage.local import Local
from files.storage.local_part import PART
from files.storage.part import Bytes, Check, Keep, Part, always
from files.storage.part import forget as forget_remote_id

if TYPE_CHECKING:
    from storages.backends.s3 import S3Storage

    from files.storage.s3_direct import S3Direct

__all__ = [
    "Bytes",
    "Part",
    "Received",
    "delete",
    "delete_prefix",
    "direct",
    "discard_part",
    "exists",
    "old_parts",
    "open_fd",
    "open_file",
    "open_part",
    "part_size",
    "put_folder",
    "read_bytes",
    "write_bytes",
]

KEY_BYTES = 900  # S3 takes 1,024 bytes, `.part` and a prefix included


# -- what others call ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def open_part(
    key: str, remote_id: str = "", *, expected: int = 0, still_mine: Check = always, keep: Keep = forget_remote_id
) -> Iterator[Part]:
    """The bytes of an unfinished upload, for its one writer; what is written stays when the block ends, in whatever way.

    `expected`: how many bytes there will be, refused at once when there is no room for them. `still_mine` is asked before bytes reach a
    place where another writer would meet them; `keep` is given a new remote id before anything is stored under it.
    Raises UploadBusy when another writer has them, DiskFull, StorageUnavailable.
    """
    with _backend().open_part(_checked(key), remote_id, expected, still_mine, keep) as part:
        yield part


def part_size(key: str, remote_id: str = "") -> int:
    """How many bytes of an upload are stored, published or not; 0 if there are none. Disturbs no writer. Raises StorageUnavailable."""
    return _backend().part_size(_checked(key), remote_id)


def discard_part(key: str, remote_id: str = "") -> None:
    """Remove the bytes of an upload, published or not; not an error if there are none. Raises StorageUnavailable."""
    _backend().discard_part(_checked(key), remote_id)


def direct(key: str) -> S3Direct:
    """The way of an upload's bytes straight to the store. Raises NoDirect where there is none."""
    return _backend().direct(_checked(key))


def old_parts(prefix: str, older_than: timedelta) -> Iterator[tuple[str, str]]:
    """Key and remote id of every unfinished upload below `prefix/` to which nothing was added for so long. Raises StorageUnavailable."""
    return _backend().old_parts(_checked(prefix.rstrip("/")), older_than)


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

    def open_part(self, key: str, remote_id: str, expected: int, still_mine: Check, keep: Keep) -> AbstractContextManager[Part]: ...
    def part_size(self, key: str, remote_id: str) -> int: ...
    def discard_part(self, key: str, remote_id: str) -> None: ...
    def direct(self, key: str) -> S3Direct: ...
    def old_parts(self, prefix: str, older_than: timedelta) -> Iterator[tuple[str, str]]: ...
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
