"""What becomes of proved files, and of the spool when its disk is full."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from argus_uploader import durable
from argus_uploader.config import Settings
from argus_uploader.errors import BadConfig, LocalTrouble
from argus_uploader.journal import Item, is_there
from argus_uploader.progress import Progress
from argus_uploader.spool import MARKER, METADATA

DELETED, MOVED, KEPT, CHANGED = "deleted", "moved", "kept", "changed"


@dataclass(frozen=True)
class Expendable:
    """A file that could be given up: the least important first, of these the oldest."""

    priority: int
    mtime_ns: int
    path: str
    size: int


class Disk:
    """The only part of the program that deletes recordings."""

    def __init__(self, settings: Settings, progress: Progress) -> None:
        self._settings, self._progress = settings, progress
        self._spool = settings.spool_folder
        self._sent = settings.sent

    def check(self) -> None:
        """Raises BadConfig or LocalTrouble where the folders do not fit together."""
        if not self._spool.is_dir():
            raise LocalTrouble(f"the spool {self._spool} is no folder, or its disk is not there")
        if self._settings.after != "move":
            return
        try:
            self._sent.mkdir(parents=True, exist_ok=True)
            if self._sent.stat().st_dev != self._spool.stat().st_dev:
                raise BadConfig(f"{self._sent} must be on the same disk as {self._spool}: files are moved there, not copied")
        except OSError as error:
            raise LocalTrouble(f"{self._sent} cannot be used: {error.strerror}") from error

    def settle(self, items: list[Item], folder: str) -> dict[str, str]:
        """Deletes, moves or keeps proved files, durably, and says what it did to each path. What has changed since stays."""
        done: dict[str, str] = {}
        touched: set[Path] = set()
        try:
            for item in items:
                done[item.path] = self._settle(item, touched)
            if folder and self._settings.after != "keep":
                self._clear(folder, touched)
            for parent in sorted(touched):
                if parent.is_dir():
                    durable.sync_folder(parent)
        except OSError as error:
            raise LocalTrouble(f"sent files cannot be {self._settings.after}d: {error.filename}: {error.strerror}") from error
        return done

    def _settle(self, item: Item, touched: set[Path]) -> str:
        path = self._spool / item.path
        if not is_there(self._spool, item):
            return CHANGED if path.exists() else DELETED
        if self._settings.after == "keep":
            return KEPT
        touched.add(path.parent)
        if self._settings.after == "move":
            target = _free_name(self._sent / item.path)
            _make_folders(target.parent)
            touched.add(target.parent)
            path.rename(target)
        else:
            path.unlink()
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + MARKER).unlink()
        return MOVED if self._settings.after == "move" else DELETED

    def _clear(self, folder: str, touched: set[Path]) -> None:
        """Removes a folder whose recordings are all gone: its metadata and marker, itself, and the empty folders below."""
        top = self._spool / folder
        if not top.is_dir():
            return
        for below, _, _ in sorted(os.walk(str(top)), reverse=True):
            if below != str(top):
                with contextlib.suppress(OSError):
                    os.rmdir(below)
        if {entry.name for entry in os.scandir(str(top))} - {METADATA, MARKER}:
            return
        metadata = top / METADATA
        if metadata.exists() and self._settings.after == "move":
            target = _free_name(self._sent / folder / METADATA)
            _make_folders(target.parent)
            metadata.rename(target)
        for path in (metadata, top / MARKER, top.with_name(top.name + MARKER)):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        with contextlib.suppress(OSError):  # somebody is about to write there
            top.rmdir()
        touched.discard(top)
        touched.add(top.parent)

    def make_room(self, expendable: Iterable[Expendable]) -> int:
        """Deletes until `min-free` bytes are free, if that is configured; how many recordings were lost by it.

        What was sent goes first, then the oldest of the least important. Each loss is an event.
        """
        if self._settings.when_full != "oldest" or not self._lacking():
            return 0
        for path in sorted(self._kept_copies(), key=lambda found: found.lstat().st_mtime_ns):
            with contextlib.suppress(OSError):
                path.unlink()
                self._progress.event("sent_copy_removed", path=str(path))
            if not self._lacking():
                return 0
        lost = 0
        for victim in sorted(expendable, key=lambda found: (found.priority, found.mtime_ns, found.path)):
            with contextlib.suppress(OSError):
                (self._spool / victim.path).unlink()
                self._progress.event("dropped", path=victim.path, size=victim.size, priority=victim.priority, reason="the disk is full")
                lost += 1
            if not self._lacking():
                break
        return lost

    def _lacking(self) -> bool:
        try:
            return shutil.disk_usage(str(self._spool)).free < self._settings.min_free
        except OSError:
            return False

    def _kept_copies(self) -> list[Path]:
        if self._settings.after != "move" or not self._sent.is_dir():
            return []
        return [path for path in self._sent.rglob("*") if path.is_file() and not path.is_symlink()]


def _make_folders(folder: Path) -> None:
    """`mkdir -p` that survives a power cut."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for made in reversed(missing):
        made.mkdir(exist_ok=True)
        durable.sync_folder(made.parent)


def _free_name(path: Path) -> Path:
    """`path`, or one beside it that is free."""
    number, free = 1, path
    while os.path.lexists(str(free)):
        number += 1
        free = path.with_name(f"{path.stem}~{number}{path.suffix}")
    return free
