"""Landlock: the kernel keeps a process out of every file, port and process that it was not given (Linux 5.13 and newer; ctypes only)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterable

# linux/landlock.h; the system calls have the same numbers on every architecture.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION_FLAG = 1
PATH_BENEATH = 1

WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << bit for bit in range(1, 6))
MAKE_DIR, MAKE_REG = 1 << 7, 1 << 8
TRUNCATE = 1 << 14
READ = READ_FILE | READ_DIR
WRITE = READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | TRUNCATE
FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
TCP = 3  # bind and connect, from version 4
SCOPES = 3  # abstract sockets and signals of processes outside, from version 6


def version() -> int:
    """What the kernel offers; 0 where it has no Landlock or does not let us use it."""
    return max(0, int(_libc().syscall(CREATE_RULESET, None, 0, VERSION_FLAG)))


def restrict(writable: str | None, readable: Iterable[str]) -> bool:
    """From now on this process, and what it starts, opens files for writing below `writable` only and for reading only there and below
    `readable`, binds and connects no port, and signals nobody outside, as far as the kernel's version goes. Open descriptors stay as they
    are. False when the kernel cannot do it; then nothing has changed. The process must have given up new privileges before.
    """
    offered = version()
    if not offered:
        return False
    rights = FILE_RIGHTS[min(offered, 5)]
    attributes = struct.pack("=QQQ", rights, TCP if offered >= 4 else 0, SCOPES if offered >= 6 else 0)
    libc = _libc()
    size = 24 if offered >= 6 else 16 if offered >= 4 else 8
    ruleset = libc.syscall(CREATE_RULESET, attributes, ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return False
    try:
        if writable is not None:
            _allow(libc, ruleset, writable, WRITE & rights)
        for path in readable:
            _allow(libc, ruleset, path, READ)
        return int(libc.syscall(RESTRICT_SELF, ruleset, 0)) == 0
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    """What is not there needs no rule; of a single file only reading can be allowed."""
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        if not os.path.isdir(path):
            rights &= READ_FILE | WRITE_FILE | TRUNCATE
        libc.syscall(ADD_RULE, ruleset, PATH_BENEATH, struct.pack("=Qi", rights, fd), 0)
        os.close(fd)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
