"""Objects as files below one folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, NoReturn

from common.errors import BadObject, NoDirect, NotFound
from files.storage.chunks import BLOCK
from files.storage.errors import typed
from files.storage.local_part import PART, LocalPart, need_room, part_of, sync_folder
from files.storage.part import Check, Keep


class Local:
    """Files below one folder; a file appears under its name only when all its bytes are on the disk."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextlib.contextmanager
    def open_part(self, key: str, remote_id: str, expected: int, still_mine: Check, keep: Keep) -> Iterator[LocalPart]:
        target = self.root / key
        with typed(key):
            self._make_folder(target.parent)
        part = LocalPart(target, expected)
        try:
            yield part
        finally:
            part.close()

    def part_size(self, key: str, remote_id: str) -> int:
        target = self.root / key
        with typed(key):
            for path in (target, part_of(target)):
                with contextlib.suppress(FileNotFoundError):
                    return path.stat(follow_symlinks=False).st_size
        return 0

    def discard_part(self, key: str, remote_id: str) -> None:
        self.delete(key)

    def direct(self, key: str) -> NoReturn:
        raise NoDirect

    def old_parts(self, prefix: str, older_than: timedelta) -> Iterator[tuple[str, str]]:
        before = time.time() - older_than.total_seconds()
        for folder, _, names in os.walk(self.root / prefix):
            for name in names:
                path = Path(folder, name)
                if name.endswith(PART) and not name.startswith("."):
                    with contextlib.suppress(FileNotFoundError):
                        if path.stat(follow_symlinks=False).st_mtime < before:
                            yield path.relative_to(self.root).as_posix().removesuffix(PART), ""

    def write(self, key: str, source: BinaryIO) -> None:
        target = self.root / key
        with typed(key):
            self._make_folder(target.parent)
            need_room(self.root, 0)
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
            sync_folder(target.parent)

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
            sync_folder(new.parent)
