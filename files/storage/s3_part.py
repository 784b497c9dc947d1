"""The bytes of an unfinished upload in an S3 store, where any web host can go on with them.

They lie in the parts of a multipart upload. What is left below the least size of a part lies in a second object, `<key>.part`, behind a
header that says which parts it follows; it begins the next part. So a kill at any moment leaves either the tail or the part that begins
with it, and where the bytes end is asked of the store alone.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

import structlog
from botocore.exceptions import ClientError
from django.conf import settings

from common.errors import FileExists, FileTooLarge, NotFound, StorageUnavailable, UploadLost
from files.storage.chunks import BLOCK
from files.storage.errors import typed
from files.storage.local_part import PART, need_room
from files.storage.part import Bytes, Check, Keep
from files.storage.s3_errors import code_of, status_of, typed_s3, unless_gone

if TYPE_CHECKING:
    from files.storage.s3 import S3

log = structlog.get_logger("argus.storage")

LEAST = 5 << 20  # what S3 takes for a part that is not the last
MOST_PARTS = 10_000
HEADER_BYTES = 512
RESERVE_CHECK_BYTES = 64 << 20
READ_BYTES = 8 << 20  # one request each
BEAT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Sent:
    """A part that the store has."""

    number: int
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Tail:
    """What lies in `<key>.part`: bytes that follow the first `after` parts; `seal` tells whether these are still the same."""

    after: int
    seal: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Found:
    """What the store has of an upload."""

    sent: list[Sent]
    tail: Tail | None = None
    published: int | None = None
    """The object's size, if there is one."""
    gone: bool = False
    """The store does not know the multipart upload."""
    doubtful: bool = False
    """Some part is not the one that was stored: where a writer who had been evicted replaced it after all."""

    @property
    def size(self) -> int:
        """Where the bytes end."""
        if self.doubtful:
            return 0
        return sum(part.size for part in self.sent) + (self.tail.size if self.tail else 0) if self.published is None else self.published


class S3Part:
    """One unfinished upload. Bytes wait in a file without a name until `sync`, so that a writer can take them back."""

    readable = False

    def __init__(self, store: S3, key: str, remote_id: str, still_mine: Check, keep: Keep) -> None:
        self.store, self.key, self.remote_id = store, key, remote_id
        self._still_mine, self._keep = still_mine, keep
        found = find(store, key, remote_id)
        self.published = found.published is not None
        self.size = self._synced = found.size
        self._sent = found.sent
        self._base = sum(part.size for part in found.sent)
        self._asked = time.monotonic()
        self._lost: UploadLost | None = None
        self._from = 0  # where in the waiting file the bytes after `_base` begin
        if found.gone:
            self.remote_id = ""
        with typed(key):
            need_room(settings.DATA_DIR, 0)
            # Beside the data and not in /tmp, which may be memory.
            self._waiting: BinaryIO = tempfile.TemporaryFile(dir=settings.DATA_DIR, prefix=".staged-", buffering=0)  # noqa: SIM115
        self._look_again = RESERVE_CHECK_BYTES
        try:
            if self.published:
                self._clean_up()  # whoever published it may have been killed before this
            elif found.doubtful:
                log.error("parts are not those that were stored: the upload begins again", key=key)
                self.discard()
            elif found.tail:
                self._fetch_tail(found.tail)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._waiting.close()

    # -- what a writer does ------------------------------------------------------------------------------------------

    def write(self, buffer: Bytes) -> None:
        view = memoryview(buffer).cast("B")
        with typed(self.key):
            if self.size - self._base >= self._look_again:
                need_room(settings.DATA_DIR, 0)
                self._look_again = self.size - self._base + RESERVE_CHECK_BYTES
            while view:
                written = os.write(self._waiting.fileno(), view)
                self.size += written
                view = view[written:]

    def sync(self) -> None:
        if self.size == self._synced:
            return
        self._send_parts(least=self._least())
        self._put_tail()
        self._synced = self.size
        self._drop_what_was_sent()

    def truncate(self, size: int) -> None:
        """As the protocol says; but what a failed `sync` has already sent stays, and `size` says so."""
        self.size = max(size, self._base)
        end = self._from + self.size - self._base
        with typed(self.key):
            os.ftruncate(self._waiting.fileno(), end)
            os.lseek(self._waiting.fileno(), end, os.SEEK_SET)
        if self.size < self._synced:
            self._put_tail()
            self._synced = self.size

    def discard(self) -> None:
        # The tail first: a kill after this line leaves parts that count, and never a tail that follows nothing.
        for name in (self.key + PART, self.key):
            with typed_s3(self.key), contextlib.suppress(NotFound):
                self.store.client.delete_object(Bucket=self.store.bucket, Key=self.store.root + name)
        if self.remote_id:
            with typed_s3(self.key), unless_gone():
                abort(self.store, self.key, self.remote_id)
            self.remote_id = ""
            self._keep("")
        self._sent, self._base, self._synced, self.published = [], 0, 0, False
        with typed(self.key):
            self._empty()

    def read(self) -> Iterator[memoryview]:
        with self.store.open_file(self.key) as file:
            while block := file.read(READ_BYTES):
                yield memoryview(block)

    def publish(self) -> None:
        if self.published:
            return
        self._still_mine()
        if self._sent or self.size > self._part_bytes():
            self._send_parts(least=1)
            self._still_mine()
            complete(self.store, self.key, self.remote_id, self._sent)
        else:
            self._put_whole()
        self._check_object()
        self.published = True
        self._clean_up()

    # -- parts -------------------------------------------------------------------------------------------------------

    def _send_parts(self, least: int) -> None:
        """Everything that waits, as parts of the full size and one of the rest if it has at least `least` bytes."""
        while (waits := self.size - self._base) >= least and waits:
            length = min(waits, self._part_bytes())
            content = Window(self._waiting.fileno(), self._from, length, self._beat)
            if not self.remote_id:
                self.remote_id = begin(self.store, self.key, self._keep)
            self._still_mine()
            self._sent.append(self._send(len(self._sent) + 1, content))
            self._base += length
            self._from += length
            self._need_mine()

    def _beat(self) -> None:
        """Stay the writer while bytes go out. An eviction is told after the part: the S3 client would try again by itself."""
        if time.monotonic() - self._asked >= BEAT_SECONDS:
            self._asked = time.monotonic()
            try:
                self._still_mine()
            except UploadLost as error:
                self._lost = error

    def _need_mine(self) -> None:
        if self._lost:
            raise self._lost

    def _send(self, number: int, content: Window) -> Sent:
        if number > MOST_PARTS:
            raise FileTooLarge(f"The storage takes {MOST_PARTS} parts.")
        try:
            with typed_s3(self.key):
                answer = self.store.client.upload_part(
                    Bucket=self.store.bucket,
                    Key=self.store.root + self.key,
                    UploadId=self.remote_id,
                    PartNumber=number,
                    Body=content,
                    ContentMD5=content.md5(),
                )
        except NotFound as error:
            raise UploadLost("The storage has given the upload up.") from error
        return Sent(number, content.size, plain(answer["ETag"]))

    def _slice(self, length: int) -> bytes:
        with typed(self.key):
            content = os.pread(self._waiting.fileno(), length, self._from)
            if len(content) != length:
                raise OSError(errno.EIO, "the disk kept another number of bytes than were written")
        return content

    def _drop_what_was_sent(self) -> None:
        """Make the waiting file short again: only the tail is left in it."""
        if self._from:
            left = self._slice(self.size - self._base)
            with typed(self.key):
                self._empty()
            self.write(left)
        self._look_again = RESERVE_CHECK_BYTES

    def _part_bytes(self) -> int:
        return max(settings.ARGUS_S3_PART_BYTES, self._least())

    def _least(self) -> int:
        """Below this, bytes wait for more: what S3 takes, or more where the parts that are left would not suffice for the largest file."""
        left = max(1, MOST_PARTS - 1 - len(self._sent))
        return max(LEAST, -(-(settings.ARGUS_MAX_FILE_BYTES - self._base) // left))

    def _empty(self) -> None:
        """Nothing waits any more."""
        os.ftruncate(self._waiting.fileno(), 0)
        os.lseek(self._waiting.fileno(), 0, os.SEEK_SET)
        self._from, self.size, self._look_again = 0, self._base, RESERVE_CHECK_BYTES

    # -- the tail ----------------------------------------------------------------------------------------------------

    @property
    def _tail_key(self) -> str:
        return self.store.root + self.key + PART

    def _put_tail(self) -> None:
        content = self._slice(self.size - self._base)
        header = {
            "after": len(self._sent),
            "seal": _seal(self._sent),
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        body = json.dumps(header).encode().ljust(HEADER_BYTES) + content
        self._still_mine()
        with typed_s3(self.key):
            self.store.client.put_object(Bucket=self.store.bucket, Key=self._tail_key, Body=body, ContentMD5=_md5(body))

    def _fetch_tail(self, tail: Tail) -> None:
        """Put the tail into the waiting file. One that is not what was stored does not count: its bytes have to come again."""
        with typed_s3(self.key):
            body = self.store.client.get_object(Bucket=self.store.bucket, Key=self._tail_key)["Body"]
            with contextlib.closing(body):
                body.read(HEADER_BYTES)
                shutil.copyfileobj(body, self._waiting, BLOCK)
        content = self._slice(tail.size)
        if hashlib.sha256(content).hexdigest() != tail.sha256:
            log.error("the store has changed the tail of an upload", key=self.key)
            with typed(self.key):
                self._empty()
            self._synced = self.size

    # -- the object --------------------------------------------------------------------------------------------------

    def _put_whole(self) -> None:
        """A file that never needed parts."""
        content = Window(self._waiting.fileno(), self._from, self.size, self._beat)
        named = {"Bucket": self.store.bucket, "Key": self.store.root + self.key}
        md5 = content.md5()

        def put(**condition: str) -> None:
            content.seek(0)
            self.store.client.put_object(**named, Body=content, ContentMD5=md5, **condition)

        self._still_mine()
        with typed_s3(self.key):
            _where_nothing_is(put)
        self._need_mine()

    def _check_object(self) -> None:
        """What was published has to be found again, in its full length."""
        stored = object_size(self.store, self.key)
        if stored is None:
            raise StorageUnavailable("The storage does not have what it said it has stored.")
        if stored != self.size:
            # The key is this upload's own: what lies there came from it, or from nobody that Argus knows.
            raise FileExists(f"The storage has {stored} bytes under this key, not {self.size}.")

    def _clean_up(self) -> None:
        """Remove what the object has made superfluous. It stays for the sweep where that fails: the object is there."""
        try:
            with typed_s3(self.key), unless_gone():
                self.store.client.delete_object(Bucket=self.store.bucket, Key=self._tail_key)
                if self.remote_id and not self._sent:
                    abort(self.store, self.key, self.remote_id)
        except StorageUnavailable:
            log.warning("the rest of a finished upload is left to the sweep", key=self.key)


class Window(io.RawIOBase):
    """Some bytes of an open file, as a file of its own."""

    def __init__(self, file: int, start: int, size: int, on_read: Callable[[], None]) -> None:
        self.file, self.start, self.size, self.at, self.on_read = file, start, size, 0, on_read

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.at, os.SEEK_END: self.size}[whence]
        return self.at

    def tell(self) -> int:
        return self.at

    def readinto(self, buffer: Any) -> int:
        self.on_read()
        view = memoryview(buffer).cast("B")[: max(0, self.size - self.at)]
        count = os.preadv(self.file, [view], self.start + self.at)
        if view and not count:
            raise OSError(errno.EIO, "the disk kept another number of bytes than were written")
        self.at += count
        return count

    def md5(self) -> str:
        """For Content-MD5, which every store checks, unlike the newer checksums."""
        digest = hashlib.md5(usedforsecurity=False)
        self.seek(0)
        while block := self.read(BLOCK):
            digest.update(block)
        self.seek(0)
        return base64.b64encode(digest.digest()).decode()


# -- steps that uploads straight to the store take too -------------------------------------------------------------------


def begin(store: S3, key: str, keep: Keep) -> str:
    """A new multipart upload, kept in the row before anything is stored in it."""
    with typed_s3(key):
        remote_id = str(store.client.create_multipart_upload(Bucket=store.bucket, Key=store.root + key)["UploadId"])
    try:
        keep(remote_id)
    except BaseException:
        with contextlib.suppress(StorageUnavailable, NotFound), typed_s3(key):
            abort(store, key, remote_id)
        raise
    return remote_id


def listed(store: S3, key: str, remote_id: str) -> list[Sent] | None:
    """All parts of a multipart upload by their numbers; None when the store does not know the upload. Raises StorageUnavailable."""
    try:
        with typed_s3(key):
            pages = store.client.get_paginator("list_parts").paginate(Bucket=store.bucket, Key=store.root + key, UploadId=remote_id)
            found = [Sent(part["PartNumber"], part["Size"], plain(part["ETag"])) for page in pages for part in page.get("Parts", [])]
    except NotFound:
        return None
    return sorted(found, key=lambda part: part.number)


def complete(store: S3, key: str, remote_id: str, sent: list[Sent]) -> None:
    """Make one object of the parts, unless there is one: it may be the right one, whose answer was lost, and the caller looks.

    Raises DiskFull, StorageUnavailable.
    """
    parts = [{"PartNumber": part.number, "ETag": f'"{part.etag}"'} for part in sent]
    call = partial(
        store.client.complete_multipart_upload,
        Bucket=store.bucket,
        Key=store.root + key,
        UploadId=remote_id,
        MultipartUpload={"Parts": parts},
    )
    # NotFound: an earlier call has completed it, and its answer was lost; or it is gone, and then there is no object.
    with contextlib.suppress(NotFound), typed_s3(key):
        _where_nothing_is(call)


def abort(store: S3, key: str, remote_id: str) -> None:
    """End a multipart upload; what the client raises passes."""
    store.client.abort_multipart_upload(Bucket=store.bucket, Key=store.root + key, UploadId=remote_id)


def object_size(store: S3, key: str) -> int | None:
    """How many bytes the object has; None when there is none. Raises StorageUnavailable."""
    try:
        with typed_s3(key):
            return int(store.client.head_object(Bucket=store.bucket, Key=store.root + key)["ContentLength"])
    except NotFound:
        return None


def find(store: S3, key: str, remote_id: str) -> Found:
    """What there is of an upload. Raises StorageUnavailable."""
    parts = listed(store, key, remote_id) if remote_id else None
    gone = bool(remote_id) and parts is None
    if parts is None and (size := object_size(store, key)) is not None:
        return Found([], published=size, gone=gone)
    sent, tail = _from_the_first(parts or []), _tail(store, key)
    if tail and tail.after <= len(sent) and _seal(sent[: tail.after]) != tail.seal:
        return Found(sent, gone=gone, doubtful=True)
    return Found(sent, tail if tail and tail.after == len(sent) else None, gone=gone)


def plain(etag: str) -> str:
    """An ETag without its quotes, which not every store sends everywhere."""
    return etag.strip('"')


def _from_the_first(parts: list[Sent]) -> list[Sent]:
    """The parts up to the first gap."""
    return [part for number, part in enumerate(parts, 1) if part.number == number]


def _tail(store: S3, key: str) -> Tail | None:
    """The header of `<key>.part`; None without one, or when it is cut."""
    try:
        with typed_s3(key):
            answer = store.client.get_object(Bucket=store.bucket, Key=store.root + key + PART, Range=f"bytes=0-{HEADER_BYTES - 1}")
            head = answer["Body"].read()
    except NotFound:
        return None
    whole = int(answer.get("ContentRange", f"/{answer['ContentLength']}").rpartition("/")[2])
    tail = Tail(**json.loads(head)) if len(head) == HEADER_BYTES else None
    if tail is None or whole != HEADER_BYTES + tail.size:
        log.error("the store has cut the tail of an upload", key=key, stored=whole)
        return None
    return tail


def _seal(sent: list[Sent]) -> str:
    """A digest of what these parts are."""
    return hashlib.sha256(json.dumps([[part.number, part.size, part.etag] for part in sent]).encode()).hexdigest()


def _md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def _where_nothing_is(call: Callable[..., Any]) -> None:
    """Make the object only if there is none; what is there then is for the caller to look at."""
    try:
        call(IfNoneMatch="*")
    except ClientError as error:
        if status_of(error) == 501 or code_of(error) == "NotImplemented":
            call()  # a store that knows no conditions; keys are used once, so this is a second guard only
        elif status_of(error) != 412:
            raise
