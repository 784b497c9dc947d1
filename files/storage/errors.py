"""Errors of the disk as the errors that Argus answers with."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

import structlog

from common.errors import BadObject, DiskFull, FileExists, NotFound, StorageUnavailable

log = structlog.get_logger("argus.storage")


@contextlib.contextmanager
def typed(key: str) -> Iterator[None]:
    """Errors of the disk and of the S3 client as the errors that Argus answers with; paths and hosts go to the log only."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskFull from error
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            raise NotFound("The stored object is gone.") from error
        if error.errno in {errno.ELOOP, errno.EISDIR}:
            raise BadObject from error
        if error.errno == errno.EEXIST:
            raise FileExists("The storage has an object under this key.") from error
        log.exception("storage failed", key=key)
        raise StorageUnavailable from error
