"""One uploader for a spool: a lock that the kernel lets go of when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from argus_uploader.errors import LocalTrouble, Locked


@contextlib.contextmanager
def held(spool: Path, state: Path) -> Iterator[None]:
    """Holds the spool and the state folder. Raises Locked, LocalTrouble."""
    handles: list[int] = []
    try:
        try:
            state.mkdir(parents=True, exist_ok=True, mode=0o700)
            handles.append(os.open(str(spool), os.O_RDONLY | os.O_DIRECTORY))
            handles.append(os.open(str(state / "lock"), os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise LocalTrouble(f"{error.filename} cannot be used: {error.strerror}") from error
        for handle, folder in zip(handles, (spool, state)):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Locked(f"another uploader works on {folder}") from error
            except OSError as error:
                raise LocalTrouble(f"{folder} cannot be locked: {error.strerror}") from error
        yield
    finally:
        for handle in handles:
            os.close(handle)
