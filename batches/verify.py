"""Verify: an upload whose bytes are all there, but were not read by the one who took them, becomes a File."""

from __future__ import annotations

from uuid import UUID

import structlog

from batches.receiving import finish_upload
from common.errors import ArgusError

log = structlog.get_logger("argus.verify")


def verify_upload(upload_id: UUID) -> bool:
    """Make the File, or say why there is none; True if there is one now. May run twice, and while somebody else does the same.

    What storage or database could not do this time stays due: the writer's lease runs out, and the sweep rings again.
    """
    try:
        return finish_upload(upload_id) is not None
    except ArgusError as error:
        log.warning("upload not finished", upload_id=str(upload_id), code=error.code, reason=error.detail)
        return False
