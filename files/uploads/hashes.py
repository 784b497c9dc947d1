"""Running SHA-256 sums of unfinished uploads, so that a file that comes in pieces need not be read again at its end."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from hashlib import _Hash

KEPT = 1024  # of about 500 bytes each


@dataclass(frozen=True, slots=True)
class _Sum:
    offset: int
    generation: int
    digest: _Hash


_lock = threading.Lock()
_sums: OrderedDict[UUID, _Sum] = OrderedDict()


def keep(upload_id: UUID, generation: int, offset: int, digest: _Hash) -> None:
    """The writer of this generation leaves the upload at `offset` with this sum of all its bytes."""
    with _lock:
        _sums[upload_id] = _Sum(offset, generation, digest)
        _sums.move_to_end(upload_id)
        while len(_sums) > KEPT:
            _sums.popitem(last=False)


def take(upload_id: UUID, previous: int, offset: int) -> _Hash | None:
    """The sum up to `offset`, if the writer of the `previous` generation left it here; None if the bytes have to be read for it."""
    if offset == 0:
        return hashlib.sha256()
    with _lock:
        known = _sums.pop(upload_id, None)
    # Between two generations that follow each other nobody else, in whatever process, has written.
    return known.digest if known and (known.offset, known.generation) == (offset, previous) else None


def drop(upload_id: UUID) -> None:
    """Forget the sum: the bytes are gone, or a File."""
    with _lock:
        _sums.pop(upload_id, None)
