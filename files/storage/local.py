"""Objects as files below one folder."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import BinaryIO

from django.conf import settings

from common.errors import BadObject, NotFound, StorageUnavailable
from files.storage.chunks import BLOCK, Counted
from files.storage.errors import typed

PART = ".part"
RESERVE_CHECK_BYTES = 64 << 20  # how often a growing file looks at the room that is left


class Local:
    """Files below one folder; a file appears under its name only when all its bytes are on the disk."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def receive(self, key: str, chunks: Counted, expected: int) -> None:
        target = self.root / key
        part = target.with_name(target.name + PART)
        with typed(key):
            self._make_folder(target.parent)
            self._need_room(expected)
            out = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
        try:
            try:
                self._fill(out, key, chunks)
            finally:
                os.close(out)
            with typed(key):
                os.link(part, target, follow_symlinks=False)  # unlike rename, never replaces
        finally:
            with contextlib.suppress(OSError):
                part.unlink()
        try:
            with typed(key):
                _sync_folder(target.parent)
        except StorageUnavailable:
            target.unlink(missing_ok=True)
            raise

    def _fill(self, out: int, key: str, chunks: Counted) -> None:
        """Write all chunks; errors of the source pass as they are, those of the disk typed."""
        look_again = RESERVE_CHECK_BYTES
        for chunk in chunks:
            with typed(key):
                if chunks.size >= look_again:
                    self._need_room(0)
                    look_again = chunks.size + RESERVE_CHECK_BYTES
                _write_all(out, chunk)
        with typed(key):
            os.fsync(out)
            if os.fstat(out).st_size != chunks.size:
                raise OSError(errno.EIO, "the disk kept another number of bytes than were written")

    def write(self, key: str, source: BinaryIO) -> None:
        target = self.root / key
        with typed(key):
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
        with typed(key):
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
        with typed(key):
            for path in (target, target.with_name(target.name + PART)):
                path.unlink(missing_ok=True)

    def delete_prefix(self, prefix: str) -> None:
        folder = self.root / prefix
        with typed(prefix):
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
