"""Has the kernel begin to write what is still in memory, so that a later fsync finds little left to wait for."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

SYNC_FILE_RANGE_WRITE = 2


def _find() -> Callable[[int, int, int], Any] | None:
    """sync_file_range(2), where there is one (Linux)."""
    function = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if function is None:
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return lambda file, start, size: function(file, start, size, SYNC_FILE_RANGE_WRITE)


_begin = _find()


def begin(file: int, start: int, size: int) -> None:
    """Start writing `size` bytes from `start`; returns at once and promises nothing: whether they arrive is fsync's to say."""
    if _begin:
        _begin(file, start, size)
