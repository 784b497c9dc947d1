"""The bytes of an unfinished upload as a file beside the one that it becomes."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from common.errors import UploadBusy, UploadLost
from common.failpoints import reach
from files.storage import writeback
from files.storage.errors import typed
from files.storage.part import Bytes

PART = ".part"
READ_BYTES = 1 << 20
LOCK_SECONDS = 1.0
LOCK_POLL_SECONDS = 0.02
WRITEBACK_BYTES = 4 << 20  # how much the disk is given at a time: it writes while the next bytes come
RESERVE_CHECK_BYTES = 64 << 20  # how often a growing file looks at the room that is left


class LocalPart:
    """`<key>.part`, locked for as long as it is open: a second guard for when a writer does not notice that it was evicted."""

    readable = True
    remote_id = ""

    def __init__(self, target: Path, expected: int) -> None:
        self.target, self.part = target, part_of(target)
        self.published, self._new = False, False
        self._look_again = RESERVE_CHECK_BYTES
        with typed(target.name):
            self._file = self._opened()
            self.size = self._synced = self._begun = os.fstat(self._file).st_size
            try:
                if not self.published:
                    need_room(target.parent, max(0, expected - self.size))
            except OSError:
                self.close()
                raise

    def close(self) -> None:
        """Give the bytes to the next writer; a part without any leaves no trace."""
        if self._new and not self.size:
            self.part.unlink(missing_ok=True)
        os.close(self._file)  # and with it the lock

    def _opened(self) -> int:
        """A descriptor of the object if it is there, otherwise of the part, locked."""
        until = time.monotonic() + LOCK_SECONDS
        while True:
            file = self._open_part()
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                current = _same(file, self.part)
            except BlockingIOError:
                current = False
            except BaseException:
                os.close(file)
                raise
            # Asked with the lock in hand: a publisher has it until both names are right.
            if current and not self.target.exists():
                return file
            os.close(file)
            if current:
                # Whoever linked the object was killed before the part's own name was gone.
                self.part.unlink(missing_ok=True)
                self.published, self._new = True, False
                return os.open(self.target, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            if time.monotonic() > until:
                raise UploadBusy
            time.sleep(LOCK_POLL_SECONDS)

    def _open_part(self) -> int:
        flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            file = os.open(self.part, flags)
        except FileNotFoundError:
            self._new = True
            return os.open(self.part, flags | os.O_CREAT, 0o640)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise OSError(errno.ELOOP, "the part is not a regular file")
        return file

    def write(self, buffer: Bytes) -> None:
        view = memoryview(buffer)
        with typed(self.target.name):
            if self.size >= self._look_again:
                need_room(self.target.parent, 0)
                self._look_again = self.size + RESERVE_CHECK_BYTES
            while view:
                written = os.write(self._file, view)
                self.size += written
                view = view[written:]
        if self.size - self._begun >= WRITEBACK_BYTES:
            writeback.begin(self._file, self._begun, self.size - self._begun)
            self._begun = self.size

    def sync(self) -> None:
        with typed(self.target.name):
            self._sync_file()
            if self._new:
                sync_folder(self.part.parent)
                self._new = False

    def _sync_file(self) -> None:
        if self._synced != self.size:
            os.fdatasync(self._file)
            if os.fstat(self._file).st_size != self.size:
                raise OSError(errno.EIO, "the disk kept another number of bytes than were written")
            self._synced = self.size

    def truncate(self, size: int) -> None:
        with typed(self.target.name):
            os.ftruncate(self._file, size)
            os.fdatasync(self._file)
            self.size = self._synced = self._begun = size

    def discard(self) -> None:
        with typed(self.target.name):
            if self.published:
                self.target.unlink(missing_ok=True)
                os.close(self._file)
                self.published = False
                self._file = self._opened()
            os.ftruncate(self._file, 0)
            self.size = self._synced = self._begun = 0

    def read(self) -> Iterator[memoryview]:
        buffer = bytearray(READ_BYTES)
        view, at = memoryview(buffer), 0
        while True:
            with typed(self.target.name):
                count = os.preadv(self._file, [buffer], at)
            if not count:
                return
            yield view[:count]
            at += count

    def publish(self) -> None:
        if self.published:
            return
        with typed(self.target.name):
            self._sync_file()
            if not _same(self._file, self.part):
                raise UploadLost  # discarded by somebody else meanwhile
            os.link(self.part, self.target, follow_symlinks=False)  # unlike rename, never replaces
            reach("finish.linked")
            self.part.unlink(missing_ok=True)
            sync_folder(self.target.parent)
        self.published, self._new = True, False


def part_of(target: Path) -> Path:
    """Where the bytes lie until they are published."""
    return target.with_name(target.name + PART)


def need_room(folder: Path, size: int) -> None:
    """Raise OSError (ENOSPC) unless `size` more bytes leave the reserve."""
    room = os.statvfs(folder)
    if room.f_bavail * room.f_frsize - size < settings.ARGUS_DISK_RESERVE_BYTES:
        raise OSError(errno.ENOSPC, "less than the reserve is left")


def sync_folder(folder: Path) -> None:
    """Write a folder's names to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _same(file: int, path: Path) -> bool:
    """Does the path still name the open file?"""
    try:
        there = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    here = os.fstat(file)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
