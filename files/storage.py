"""The only module that touches bytes: objects under keys, on a local disk or in an S3 store, as STORAGES["default"] says.

Keys: `raw/<batch>/<file>`, `results/<file>/<fence>/...`, `results/batches/<batch>/<fence>/...`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

import structlog
from django.conf import settings
from django.core.files.storage import FileSystemStorage, storages

from common.errors import BadObject, DiskFull, FileExists, FileTooLarge, NotFound, StorageUnavailable

if TYPE_CHECKING:
    from storages.backends.s3 import S3Storage

log = structlog.get_logger("argus.storage")

PART = ".part"
BLOCK = 1 << 20
RESERVE_CHECK_BYTES = 64 << 20  # how often a growing file looks at the room that is left
KEY_BYTES = 900  # S3 takes 1,024 bytes, `.part` and a prefix included
DELETE_AT_ONCE = 1000  # what DeleteObjects takes


@dataclass(frozen=True, slots=True)
class Received:
    """What came: its length in bytes and its SHA-256 (hex)."""

    size: int
    sha256: str


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
    counted = _Counted(chunks, limit, on_progress)
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
    with open_file(key) as file, _typed(key):
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


# -- keys and errors ---------------------------------------------------------------------------------------------------


class _Counted:
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


class _Backend(Protocol):
    """What a place for objects can do; keys are checked before."""

    def receive(self, key: str, chunks: _Counted, expected: int) -> None: ...
    def write(self, key: str, source: BinaryIO) -> None: ...
    def open_fd(self, key: str) -> int: ...
    def open_file(self, key: str) -> BinaryIO: ...
    def exists(self, key: str) -> bool: ...
    def delete(self, key: str) -> None: ...
    def delete_prefix(self, prefix: str) -> None: ...


def _backend() -> _Backend:
    """Asked for at each call: tests and operators change the setting."""
    storage = storages["default"]
    return _Local(Path(storage.location)) if isinstance(storage, FileSystemStorage) else _S3(cast("S3Storage", storage))


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


@contextlib.contextmanager
def _typed(key: str) -> Iterator[None]:
    """Errors of the disk and of the S3 client as the errors that Argus answers with; paths and hosts go to the log only."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskFull from error
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            raise NotFound("The stored object is gone.") from error
        if error.errno in {errno.ELOOP, errno.EISDIR}:
            raise BadObject from error
        if error.errno == errno.EEXIST:
            raise FileExists("The storage has an object under this key.") from error
        log.exception("storage failed", key=key)
        raise StorageUnavailable from error


# -- local disk --------------------------------------------------------------------------------------------------------


class _Local:
    """Files below one folder; a file appears under its name only when all its bytes are on the disk."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def receive(self, key: str, chunks: _Counted, expected: int) -> None:
        target = self.root / key
        part = target.with_name(target.name + PART)
        with _typed(key):
            self._make_folder(target.parent)
            self._need_room(expected)
            out = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
        try:
            try:
                self._fill(out, key, chunks)
            finally:
                os.close(out)
            with _typed(key):
                os.link(part, target, follow_symlinks=False)  # unlike rename, never replaces
        finally:
            with contextlib.suppress(OSError):
                part.unlink()
        try:
            with _typed(key):
                _sync_folder(target.parent)
        except StorageUnavailable:
            target.unlink(missing_ok=True)
            raise

    def _fill(self, out: int, key: str, chunks: _Counted) -> None:
        """Write all chunks; errors of the source pass as they are, those of the disk typed."""
        look_again = RESERVE_CHECK_BYTES
        for chunk in chunks:
            with _typed(key):
                if chunks.size >= look_again:
                    self._need_room(0)
                    look_again = chunks.size + RESERVE_CHECK_BYTES
                _write_all(out, chunk)
        with _typed(key):
            os.fsync(out)
            if os.fstat(out).st_size != chunks.size:
                raise OSError(errno.EIO, "the disk kept another number of bytes than were written")

    def write(self, key: str, source: BinaryIO) -> None:
        target = self.root / key
        with _typed(key):
            self._make_folder(target.parent)
            self._need_room(0)
            handle, draft = tempfile.mkstemp(suffix=PART, prefix=".", dir=target.parent)
            try:
                with os.fdopen(handle, "wb") as out:
                    shutil.copyfileobj(source, out, BLOCK)
                    out.flush()
                    os.fchmod(out.fileno(), 0o640)
                    os.fsync(out.fileno())
                os.replace(draft, target)
            except BaseException:
                os.unlink(draft)
                raise
            _sync_folder(target.parent)

    def open_fd(self, key: str) -> int:
        with _typed(key):
            descriptor = self._open(key)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise BadObject
        return descriptor

    def _open(self, key: str) -> int:
        """Open part by part from the root down: a symlink in any place is refused, whoever put it there."""
        *folders, name = key.split("/")
        here = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for folder in folders:
                below = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
                os.close(here)
                here = below
            # O_NONBLOCK: a FIFO without writer would hang here; it changes nothing for regular files.
            return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=here)
        finally:
            os.close(here)

    def open_file(self, key: str) -> BinaryIO:
        return os.fdopen(self.open_fd(key), "rb")

    def exists(self, key: str) -> bool:
        try:
            os.close(self.open_fd(key))
        except NotFound:
            return False
        return True

    def delete(self, key: str) -> None:
        target = self.root / key
        with _typed(key):
            for path in (target, target.with_name(target.name + PART)):
                path.unlink(missing_ok=True)

    def delete_prefix(self, prefix: str) -> None:
        folder = self.root / prefix
        with _typed(prefix):
            while folder.exists():
                with contextlib.suppress(FileNotFoundError):  # somebody else deletes here too
                    shutil.rmtree(folder)

    def _make_folder(self, folder: Path) -> None:
        """Make the missing folders; each new one is written to the disk through its parent, or a power cut could lose it with its files."""
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for new in reversed(missing):
            new.mkdir(mode=0o750, exist_ok=True)
            _sync_folder(new.parent)

    def _need_room(self, size: int) -> None:
        room = os.statvfs(self.root)
        if room.f_bavail * room.f_frsize - size < settings.ARGUS_DISK_RESERVE_BYTES:
            raise OSError(errno.ENOSPC, "less than the reserve is left")


def _write_all(out: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(out, view) :]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# -- S3 ------------------------------------------------------------------------------------------------------------------


class _S3:
    """Objects in one bucket, through the client that the configured storage made."""

    def __init__(self, storage: S3Storage) -> None:
        self.client: Any = storage.connection.meta.client
        self.bucket = storage.bucket_name
        self.transfer_config: Any = storage.transfer_config
        self.root = f"{storage.location.strip('/')}/".lstrip("/")

    def receive(self, key: str, chunks: _Counted, expected: int) -> None:
        from boto3.s3.transfer import TransferConfig

        # Without threads the chunks are pulled here: they come from a socket, and progress is written to this thread's database connection.
        # It also keeps one part in memory and not several.
        part = self.transfer_config.multipart_chunksize
        config = TransferConfig(multipart_threshold=part, multipart_chunksize=part, use_threads=False)
        reader = _ChunkReader(chunks)
        try:
            with _typed_s3(key):
                self.client.upload_fileobj(reader, self.bucket, self.root + key, Config=config)
                self._check_size(key, chunks.size)
        except BaseException:
            # The answer may have been lost after the object was made.
            with contextlib.suppress(Exception):
                self.client.delete_object(Bucket=self.bucket, Key=self.root + key)
            if reader.error is not None:
                raise reader.error from None
            raise

    def _check_size(self, key: str, size: int) -> None:
        stored = self.client.head_object(Bucket=self.bucket, Key=self.root + key)["ContentLength"]
        if stored != size:
            raise OSError(errno.EIO, f"the store kept {stored} of {size} bytes")

    def write(self, key: str, source: BinaryIO) -> None:
        with _typed_s3(key):
            self.client.upload_fileobj(source, self.bucket, self.root + key, Config=self.transfer_config)

    def open_fd(self, key: str) -> int:
        # Beside the data and not in /tmp, which may be memory.
        with _typed_s3(key), tempfile.NamedTemporaryFile(dir=settings.DATA_DIR, prefix=".fetched-") as copy:
            self.client.download_fileobj(self.bucket, self.root + key, copy, Config=self.transfer_config)
            copy.flush()
            return os.open(copy.name, os.O_RDONLY | os.O_CLOEXEC)

    def open_file(self, key: str) -> BinaryIO:
        with _typed_s3(key):
            head = self.client.head_object(Bucket=self.bucket, Key=self.root + key)
        return io.BufferedReader(_S3File(self, key, head["ContentLength"], head["ETag"]), buffer_size=BLOCK)

    def exists(self, key: str) -> bool:
        try:
            with _typed_s3(key):
                self.client.head_object(Bucket=self.bucket, Key=self.root + key)
        except NotFound:
            return False
        return True

    def delete(self, key: str) -> None:
        with _typed_s3(key), contextlib.suppress(NotFound):
            self.client.delete_object(Bucket=self.bucket, Key=self.root + key)

    def delete_prefix(self, prefix: str) -> None:
        start = f"{self.root}{prefix}/"
        with _typed_s3(prefix):
            last: list[dict[str, str]] = []
            while batch := self._listed(start):
                if batch == last:
                    raise OSError(errno.EIO, "the store lists what it has deleted")
                last = batch
                answer = self.client.delete_objects(Bucket=self.bucket, Delete={"Objects": batch, "Quiet": True})
                if failed := answer.get("Errors"):
                    raise OSError(errno.EIO, f"not deleted: {failed[:3]}")
            for upload in self._unfinished(start):
                self.client.abort_multipart_upload(Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"])

    def _listed(self, start: str) -> list[dict[str, str]]:
        """Up to a thousand objects, or old versions of them, whose keys start so."""
        found = self.client.list_objects_v2(Bucket=self.bucket, Prefix=start, MaxKeys=DELETE_AT_ONCE).get("Contents", [])
        if found:
            return [{"Key": entry["Key"]} for entry in found]
        with _unless_not_implemented():
            page = self.client.list_object_versions(Bucket=self.bucket, Prefix=start, MaxKeys=DELETE_AT_ONCE)
            old = (*page.get("Versions", []), *page.get("DeleteMarkers", []))
            return [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in old]
        return []

    def _unfinished(self, start: str) -> list[dict[str, Any]]:
        with _unless_not_implemented():
            pages = self.client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=start)
            return [upload for page in pages for upload in page.get("Uploads", [])]
        return []


class _SourceFailed(Exception):
    """The chunks ended with an error, kept by their reader; not an OSError, which would pass for one of the store."""


class _ChunkReader:
    """Chunks as the file that the S3 client reads: `read(n)` is short only at the end. Keeps the error of its source."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.chunks, self.left = iter(chunks), bytearray()
        self.error: Exception | None = None

    def read(self, amount: int = -1) -> bytes:
        """Up to `amount` bytes, all that is left when negative."""
        while amount < 0 or len(self.left) < amount:
            try:
                chunk = next(self.chunks, None)
            except Exception as error:
                self.error = error
                raise _SourceFailed from error
            if chunk is None:
                break
            self.left += chunk
        end = len(self.left) if amount < 0 else amount
        taken = bytes(memoryview(self.left)[:end])
        del self.left[:end]
        return taken


class _S3File(io.RawIOBase):
    """One object, read by ranges; an object that was replaced meanwhile is an error and never a mixture."""

    def __init__(self, store: _S3, key: str, size: int, etag: str) -> None:
        self.store, self.key, self.size, self.etag, self.at = store, key, size, etag, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.at, os.SEEK_END: self.size}[whence]
        if at < 0:
            raise ValueError("a position before the start")
        self.at = at
        return at

    def tell(self) -> int:
        return self.at

    def readall(self) -> bytes:
        """The rest in one request; the inherited one asks for 8 KiB at a time."""
        rest = bytearray(max(0, self.size - self.at))
        view = memoryview(rest)
        while view:
            view = view[self.readinto(view) :]
        return bytes(rest)

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self.size - self.at)
        if wanted <= 0:
            return 0
        with _typed_s3(self.key):
            span = f"bytes={self.at}-{self.at + wanted - 1}"
            answer = self.store.client.get_object(Bucket=self.store.bucket, Key=self.store.root + self.key, Range=span, IfMatch=self.etag)
            content = answer["Body"].read()
        if len(content) != wanted or answer["ETag"] != self.etag:  # not every store heeds If-Match
            raise StorageUnavailable
        memoryview(buffer).cast("B")[:wanted] = content
        self.at += wanted
        return wanted


@contextlib.contextmanager
def _typed_s3(key: str) -> Iterator[None]:
    """As `_typed`, for what the S3 client raises besides."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        with _typed(key):
            yield
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if status == 404 and error.response.get("Error", {}).get("Code") != "NoSuchBucket":
            raise NotFound("The stored object is gone.") from error
        if status == 507:
            raise DiskFull from error
        log.exception("storage failed", key=key)
        raise StorageUnavailable from error
    except (BotoCoreError, Boto3Error) as error:
        log.exception("storage failed", key=key)
        raise StorageUnavailable from error


@contextlib.contextmanager
def _unless_not_implemented() -> Iterator[None]:
    """Some stores know no versions or cannot list unfinished uploads: then there are none to find."""
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") not in {400, 404, 405, 501}:
            raise
