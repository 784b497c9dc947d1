"""Objects in one bucket of an S3-compatible store."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import tempfile
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import structlog
from django.conf import settings

from common.errors import DiskFull, NotFound, StorageUnavailable
from files.storage.chunks import BLOCK, Counted
from files.storage.errors import typed

if TYPE_CHECKING:
    from storages.backends.s3 import S3Storage

log = structlog.get_logger("argus.storage")

DELETE_AT_ONCE = 1000  # what DeleteObjects takes


class S3:
    """Objects in one bucket, through the client that the configured storage made."""

    def __init__(self, storage: S3Storage) -> None:
        self.client: Any = storage.connection.meta.client
        self.bucket = storage.bucket_name
        self.transfer_config: Any = storage.transfer_config
        self.root = f"{storage.location.strip('/')}/".lstrip("/")

    def receive(self, key: str, chunks: Counted, expected: int) -> None:
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

    def __init__(self, store: S3, key: str, size: int, etag: str) -> None:
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
    """As `typed`, for what the S3 client raises besides."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        with typed(key):
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
