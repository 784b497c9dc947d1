"""Objects in one bucket of an S3-compatible store."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, BinaryIO

from django.conf import settings

from common.errors import NotFound, StorageUnavailable
from files.storage.chunks import BLOCK
from files.storage.local_part import PART
from files.storage.part import Check, Keep
from files.storage.s3_direct import S3Direct
from files.storage.s3_errors import typed_s3, unless_gone, unless_not_implemented
from files.storage.s3_part import S3Part, abort, find

if TYPE_CHECKING:
    from storages.backends.s3 import S3Storage

DELETE_AT_ONCE = 1000  # what DeleteObjects takes


class S3:
    """Objects in one bucket, through the client that the configured storage made."""

    def __init__(self, storage: S3Storage) -> None:
        self.storage, self.client = storage, _client(storage)
        self.bucket = storage.bucket_name
        self.transfer_config: Any = storage.transfer_config
        self.root = f"{storage.location.strip('/')}/".lstrip("/")

    @contextlib.contextmanager
    def open_part(self, key: str, remote_id: str, expected: int, still_mine: Check, keep: Keep) -> Iterator[S3Part]:
        part = S3Part(self, key, remote_id, still_mine, keep)
        try:
            yield part
        finally:
            part.close()

    def part_size(self, key: str, remote_id: str) -> int:
        return find(self, key, remote_id).size

    def discard_part(self, key: str, remote_id: str) -> None:
        with typed_s3(key):
            unfinished = {upload["UploadId"] for upload in self._unfinished(self.root + key) if upload["Key"] == self.root + key}
            for upload_id in unfinished | ({remote_id} if remote_id else set()):
                with unless_gone():
                    abort(self, key, upload_id)
        self.delete(key)

    def direct(self, key: str) -> S3Direct:
        return S3Direct(self, key)

    def old_parts(self, prefix: str, older_than: timedelta) -> Iterator[tuple[str, str]]:
        before = datetime.now(UTC) - older_than
        with typed_s3(prefix):
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"{self.root}{prefix}/")
            tails = {
                entry["Key"].removeprefix(self.root).removesuffix(PART): entry["LastModified"]
                for page in pages
                for entry in page.get("Contents", [])
                if entry["Key"].endswith(PART)
            }
            uploads = self._unfinished(f"{self.root}{prefix}/")
        for upload in uploads:
            key = upload["Key"].removeprefix(self.root)
            touched = max(upload["Initiated"], tails.pop(key, upload["Initiated"]))
            if touched < before:
                yield key, upload["UploadId"]
        yield from ((key, "") for key, touched in tails.items() if touched < before)

    def write(self, key: str, source: BinaryIO) -> None:
        with typed_s3(key):
            self.client.upload_fileobj(source, self.bucket, self.root + key, Config=self.transfer_config)

    def open_fd(self, key: str) -> int:
        # Beside the data and not in /tmp, which may be memory.
        with typed_s3(key), tempfile.NamedTemporaryFile(dir=settings.DATA_DIR, prefix=".fetched-") as copy:
            self.client.download_fileobj(self.bucket, self.root + key, copy, Config=self.transfer_config)
            copy.flush()
            return os.open(copy.name, os.O_RDONLY | os.O_CLOEXEC)

    def open_file(self, key: str) -> BinaryIO:
        with typed_s3(key):
            head = self.client.head_object(Bucket=self.bucket, Key=self.root + key)
        return io.BufferedReader(_S3File(self, key, head["ContentLength"], head["ETag"]), buffer_size=BLOCK)

    def exists(self, key: str) -> bool:
        try:
            with typed_s3(key):
                self.client.head_object(Bucket=self.bucket, Key=self.root + key)
        except NotFound:
            return False
        return True

    def delete(self, key: str) -> None:
        for name in (key, key + PART):
            with typed_s3(key), contextlib.suppress(NotFound):
                self.client.delete_object(Bucket=self.bucket, Key=self.root + name)

    def delete_prefix(self, prefix: str) -> None:
        start = f"{self.root}{prefix}/"
        with typed_s3(prefix):
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
        with unless_not_implemented():
            page = self.client.list_object_versions(Bucket=self.bucket, Prefix=start, MaxKeys=DELETE_AT_ONCE)
            old = (*page.get("Versions", []), *page.get("DeleteMarkers", []))
            return [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in old]
        return []

    def _unfinished(self, start: str) -> list[dict[str, Any]]:
        with unless_not_implemented():
            pages = self.client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=start)
            return [upload for page in pages for upload in page.get("Uploads", [])]
        return []


_making = threading.Lock()


def _client(storage: S3Storage) -> Any:
    """The one client of all threads, which it is made for; the storage's own ones are made anew for each thread, at a tenth of a second."""
    with _making:
        found: Any = vars(storage).get("_argus_client")
        if found is None:
            found = vars(storage)["_argus_client"] = storage.connection.meta.client
    return found


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
        with typed_s3(self.key):
            span = f"bytes={self.at}-{self.at + wanted - 1}"
            answer = self.store.client.get_object(Bucket=self.store.bucket, Key=self.store.root + self.key, Range=span, IfMatch=self.etag)
            content = answer["Body"].read()
        if len(content) != wanted or answer["ETag"] != self.etag:  # not every store heeds If-Match
            raise StorageUnavailable
        memoryview(buffer).cast("B")[:wanted] = content
        self.at += wanted
        return wanted
