"""Errors of the S3 client as the errors that Argus answers with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import structlog
from botocore.exceptions import ClientError

from common.errors import DiskFull, NotFound, StorageUnavailable
from files.storage.errors import typed

log = structlog.get_logger("argus.storage")

# What stores say when a bucket or the store itself is full; most of them with 403 or 400, so that the status does not tell.
FULL = {"QuotaExceeded", "InsufficientStorage", "InsufficientCapacity", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"}


@contextlib.contextmanager
def typed_s3(key: str) -> Iterator[None]:
    """As `typed`, for what the S3 client raises besides."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError

    try:
        with typed(key):
            yield
    except ClientError as error:
        if status_of(error) == 404 and code_of(error) != "NoSuchBucket":
            raise NotFound("The stored object is gone.") from error
        if status_of(error) == 507 or code_of(error) in FULL:
            raise DiskFull from error
        log.exception("storage failed", key=key)
        raise StorageUnavailable from error
    except (BotoCoreError, Boto3Error) as error:
        log.exception("storage failed", key=key)
        raise StorageUnavailable from error


def status_of(error: ClientError) -> int:
    """The HTTP status of the store's answer."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def code_of(error: ClientError) -> str:
    """The store's own word for it."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextlib.contextmanager
def unless_not_implemented() -> Iterator[None]:
    """Some stores know no versions or cannot list unfinished uploads: then there are none to find."""
    try:
        yield
    except ClientError as error:
        if status_of(error) not in {400, 404, 405, 501}:
            raise


@contextlib.contextmanager
def unless_gone() -> Iterator[None]:
    """What is to be ended or removed is not there any more."""
    try:
        yield
    except ClientError as error:
        if status_of(error) != 404:
            raise
