"""Takes the bytes of an upload: appends them as they come, keeps what came when they stop, makes an object of them when all are there."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

import structlog
from django.conf import settings

from common.errors import (
    ArgusError,
    DigestMismatch,
    DiskFull,
    EmptyFile,
    FileTooLarge,
    LengthMismatch,
    OffsetMismatch,
    StorageUnavailable,
    UploadLost,
)
from common.failpoints import reach
from files import storage
from files.models import Upload, UploadState, Way
from files.storage import Bytes, Part, Received
from files.uploads import claims, hashes

log = structlog.get_logger("argus.uploads")

SYNC_BYTES = 64 << 20
REREAD_AT_ONCE_BYTES = 64 << 20  # of bytes that have to be fetched first; more than that is a task's work


class Sum(Protocol):
    """A checksum over the bytes of one request."""

    def update(self, data: Bytes, /) -> object:
        """Take more bytes."""

    def verify(self) -> None:
        """Raise ChecksumMismatch unless the sum of all bytes is the announced one."""


class Writer:
    """The one writer of an upload, for the length of a `writing` block; up to `durable` its bytes survive a power cut."""

    def __init__(self, upload: Upload, part: Part, previous: int) -> None:
        self.upload, self.part = upload, part
        self.durable = part.size
        self._sum = hashes.take(upload.pk, previous, part.size) if not part.published else None
        self._now = time.monotonic()
        self._renewed, self._heard = self._now, True
        self._leaving = False

    # -- bytes come ------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Where the bytes end."""
        return self.part.size

    @property
    def is_whole(self) -> bool:
        """All bytes are there."""
        return self.part.published or self.part.size == self.upload.declared_size

    def restart(self) -> None:
        """Begin at 0: whatever came before belongs to something else."""
        if self.part.published or self.part.size:
            self._discard()

    def set_length(self, size: int) -> None:
        """The length, which was left open until now. Raises LengthMismatch when another one was said before or more bytes are there."""
        declared = self.upload.declared_size
        if self.part.size > size or declared not in (None, size):
            known = self.part.size if declared is None else declared
            raise LengthMismatch(f"{size} bytes are announced now; it has {known}.", declared=size, received=self.part.size)
        self.upload.declared_size = size
        self._write_down(declared_size=size)

    def _write_down(self, **changed: object) -> None:
        if not Upload.objects.filter(pk=self.upload.pk, generation=self.upload.generation).update(**changed):
            raise UploadLost

    def receive(self, chunks: Iterable[Bytes], *, offset: int, checksum: Sum | None = None) -> None:
        """Append what comes, from `offset` on; an empty chunk says that nothing came for a second.

        What came stays when it breaks off, except with `checksum`, where all counts or nothing. Raises OffsetMismatch, FileTooLarge,
        ChecksumMismatch, DiskFull, StorageUnavailable, UploadLost, and whatever `chunks` raises.
        """
        if offset != self.part.size:
            raise OffsetMismatch(f"The upload stands at {self.part.size}, not at {offset}.", offset=self.part.size)
        if checksum and self.upload.unchecked_from != offset:
            # Not before the offset is known to be right: what lies behind the mark is cut off.
            self._write_down(unchecked_from=offset)
            self.upload.unchecked_from = offset
        try:
            self._append(chunks, checksum)
            if checksum:
                checksum.verify()
        except (DiskFull, StorageUnavailable, FileTooLarge):
            self._cut(self.durable)
            raise
        except BaseException:
            self._leaving = True
            if checksum:
                self._cut(offset)
            else:
                self._keep()
            raise
        if not self.is_whole:  # otherwise `publish` does it
            self._keep()

    def _append(self, chunks: Iterable[Bytes], checksum: Sum | None) -> None:
        part, sha256 = self.part, self._sum
        declared = self.upload.declared_size
        most = settings.ARGUS_MAX_FILE_BYTES if declared is None else declared
        for chunk in chunks:
            if len(chunk):
                if part.size + len(chunk) > most:
                    raise FileTooLarge(f"More than {most} bytes came.", limit=most)
                part.write(chunk)
                if sha256:
                    sha256.update(chunk)
                if checksum:
                    checksum.update(chunk)
                elif part.size - self.durable >= SYNC_BYTES:
                    self._sync()
            self.look(heard=len(chunk) > 0)

    def look(self, *, heard: bool = True) -> None:
        """Renew the lease every two seconds, ask every second whether the upload is still ours. Raises UploadLost."""
        now = time.monotonic()
        if now - self._now < claims.LOOK_SECONDS and heard == self._heard:
            return
        if heard != self._heard or now - self._renewed >= claims.RENEW_SECONDS:
            claims.renew(self.upload, self.durable, heard=heard)
            self._renewed = now
        else:
            claims.check(self.upload)
        self._now, self._heard = now, heard

    def still_mine(self) -> None:
        """A store may take longer for what it is given than a lease lasts. Raises UploadLost."""
        if self._leaving:
            claims.renew_leaving(self.upload)
        else:
            claims.renew(self.upload, self.durable, heard=True)

    def _sync(self) -> None:
        self.part.sync()
        self.durable = self.part.size

    def _keep(self) -> None:
        """Make durable what came, and remember its sum for the next writer."""
        try:
            self._sync()
        except (DiskFull, StorageUnavailable):
            self._cut(self.durable)
            raise
        if self._sum:
            hashes.keep(self.upload.pk, self.upload.generation, self.part.size, self._sum)

    def _cut(self, size: int) -> None:
        """Cut back after an error; the sum knows too much then."""
        self._sum = None
        try:
            self.part.truncate(size)
            self.durable = size
        except ArgusError:
            log.exception("upload not cut back", upload_id=str(self.upload.pk), size=size)

    # -- all bytes are there -----------------------------------------------------------------------------------------

    def end_here(self) -> None:
        """The sender has said that this was all. Raises EmptyFile, LengthMismatch when another length was announced."""
        declared = self.upload.declared_size
        if declared is None:
            self.upload.declared_size = self.part.size
        elif declared != self.part.size:
            raise LengthMismatch(f"{declared} bytes were announced, {self.part.size} came.", declared=declared, received=self.part.size)

    def reopen(self) -> None:
        """Bytes are missing although the upload was taken for whole: they may come after all."""
        if self.upload.state == UploadState.VERIFYING:
            self._write_down(state=UploadState.OPEN)

    @property
    def needs_task(self) -> bool:
        """The bytes must be read again and lie too far away to do that while a client waits."""
        return self._sum is None and not self.part.readable and self.part.size > REREAD_AT_ONCE_BYTES

    def publish(self) -> Received:
        """Verify the bytes and make the object of them appear under the key; said again after a crash, it goes on where that one ended.

        Wrong bytes are removed: the upload then stands at 0. Raises EmptyFile, DigestMismatch, DiskFull, StorageUnavailable, UploadLost.
        """
        if not self.part.size:
            raise EmptyFile
        if self._sum is None and not self.part.readable:
            self.part.publish()
        sha256 = self._sum.hexdigest() if self._sum else self._read_sum()
        declared = self.upload.declared_sha256
        if declared and sha256 != declared:
            self._discard(error_code=DigestMismatch.code)
            raise DigestMismatch(f"SHA-256 {declared} was announced, the bytes have {sha256}.", declared=declared, received=sha256)
        reach("finish.verified")
        self.part.publish()
        reach("finish.published")
        return Received(self.part.size, sha256)

    def _read_sum(self) -> str:
        sha256 = hashlib.sha256()
        for chunk in self.part.read():
            sha256.update(chunk)
            self.look()
        return sha256.hexdigest()

    def _discard(self, error_code: str = "") -> None:
        """Remove all bytes: the upload stands at 0."""
        self.part.discard()
        hashes.drop(self.upload.pk)
        self.upload.remote_id, self.upload.error_code, self.durable = "", error_code, 0
        self._sum = hashlib.sha256()
        self._write_down(state=UploadState.OPEN, offset=0, remote_id="", error_code=error_code)


@contextmanager
def writing(upload: Upload, *, way: str = "", claimed: bool = False, unchecked_from: int | None = None) -> Iterator[Writer]:
    """Be the one writer of the upload; what is stored when the block ends, in whatever way, the next one finds.

    `claimed`: the row was made with the claim in it. `unchecked_from`: bytes from there on will count only when their checksum was right.
    Raises the errors of `claims.claim` and of `storage.open_part`.
    """
    came_by = upload.way
    if not claimed:
        claims.claim(upload, way=way)
    previous = upload.generation - claims.STEP
    writer: Writer | None = None
    try:
        with storage.open_part(
            upload.storage_key,
            upload.remote_id,
            expected=upload.declared_size or 0,
            still_mine=lambda: writer.still_mine() if writer else claims.check(upload),
            keep=lambda remote_id: _keep_remote_id(upload, remote_id),
        ) as part:
            _drop_unchecked(upload, part, still_open=unchecked_from is not None)
            writer = Writer(upload, part, previous)
            if way and came_by and way != came_by and Way.DIRECT in (way, came_by) and upload.state == UploadState.OPEN:
                writer.restart()  # parts that went straight to the store are cut in another way
            yield writer
    finally:
        if upload.state != UploadState.FINISHED:
            whole = writer.is_whole if writer else upload.state == UploadState.VERIFYING
            claims.release(upload, writer.durable if writer else None, whole=whole)


def _drop_unchecked(upload: Upload, part: Part, *, still_open: bool) -> None:
    """Cut off what a killed writer never compared with its checksum."""
    if upload.unchecked_from is None:
        return
    if not part.published and part.size > upload.unchecked_from:
        part.truncate(upload.unchecked_from)
    if not still_open:
        upload.unchecked_from = None
        Upload.objects.filter(pk=upload.pk, generation=upload.generation).update(unchecked_from=None)


def _keep_remote_id(upload: Upload, remote_id: str) -> None:
    if not Upload.objects.filter(pk=upload.pk, generation=upload.generation).update(remote_id=remote_id):
        raise UploadLost
    upload.remote_id = remote_id
