"""Token buckets that all processes of a host share: a small memory-mapped table, no query and no daemon for it."""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import struct
import threading
import time
from pathlib import Path

from django.conf import settings

SETS = 4096
WAYS = 8
ENTRY = struct.Struct("<Qd")  # key, the moment at which the bucket is full again (seconds of the host's monotonic clock)
SET_BYTES = WAYS * ENTRY.size


class Rates:
    """Buckets by key in a file; of more than eight keys that fall into one of its 4,096 sets the fullest bucket is forgotten.

    What is forgotten starts anew with a full bucket, as does everything after a restart of the host with another clock: a limit errs in
    favour of the caller.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        if os.fstat(self._file).st_size != SETS * SET_BYTES:
            os.ftruncate(self._file, SETS * SET_BYTES)
        self._table = mmap.mmap(self._file, SETS * SET_BYTES)
        # The file lock keeps other processes out, and only them.
        self._lock = threading.Lock()

    def take(self, key: str, per_second: float, burst: int) -> float:
        """Take one token of the bucket that holds `burst` and gets `per_second` new ones; 0, or the seconds until there is one."""
        number, interval = _number(key), 1 / per_second
        place = number % SETS * SET_BYTES
        with self._lock:
            fcntl.lockf(self._file, fcntl.LOCK_EX, SET_BYTES, place)
            try:
                return self._take(place, number, interval, burst)
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN, SET_BYTES, place)

    def _take(self, place: int, number: int, interval: float, burst: int) -> float:
        """The generic cell rate algorithm (ITU-T I.371): a bucket is the moment at which it will be full."""
        now = time.monotonic()
        entries = [ENTRY.unpack_from(self._table, place + way * ENTRY.size) for way in range(WAYS)]
        way = next((way for way, entry in enumerate(entries) if entry[0] == number), None)
        full_at = now
        if way is None:
            way = min(range(WAYS), key=lambda way: entries[way][1])
        else:
            # One further ahead than an empty bucket was written under another limit, or before the clock started anew.
            full_at = max(now, entries[way][1]) if entries[way][1] <= now + (burst + 1) * interval else now
        wait = full_at + interval - (now + burst * interval)
        # As many as divide the interval evenly must pass: the sums are not exact.
        if wait > interval * 1e-6:
            return wait
        ENTRY.pack_into(self._table, place + way * ENTRY.size, number, full_at + interval)
        return 0.0


def _number(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little") or 1


_opened: dict[Path, Rates] = {}
_opening = threading.Lock()


def take(key: str, per_second: float, burst: int) -> float:
    """Take one token of the host-wide bucket `key`; 0, or the seconds until there is one. `per_second` 0: no limit."""
    if not per_second:
        return 0.0
    path = settings.DATA_DIR / "rates"
    with _opening:
        if path not in _opened:
            _opened[path] = Rates(path)
    return _opened[path].take(key, per_second, burst)
