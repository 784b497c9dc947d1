"""Files that are there whole or not at all, also after a power cut."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any


def write(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replaces `path` atomically; on disk, with its name, before this returns. OSError where the disk refuses."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    handle = os.open(str(scratch), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0), mode)
    try:
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(handle, view) :]
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(str(scratch), str(path))
    except OSError:
        with contextlib.suppress(OSError):
            scratch.unlink()
        raise
    sync_folder(path.parent)


def write_json(path: Path, content: Any, mode: int = 0o600) -> None:
    """`write` of JSON; names that are no UTF-8 survive as escapes."""
    write(path, json.dumps(content, indent=1).encode("ascii") + b"\n", mode)


def sync_folder(folder: Path) -> None:
    """Makes the names in `folder` durable."""
    handle = os.open(str(folder), os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(path: Path) -> None:
    """Removes `path` durably; nothing happens where it is gone."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
        sync_folder(path.parent)
