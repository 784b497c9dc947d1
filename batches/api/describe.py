"""How the API description speaks of errors and of bodies that are files."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

from batches.api.serializers import FilesPendingProblem
from common.json_api import Problem

PROBLEM = "application/problem+json"
MEANINGS = {
    400: "malformed body, or a field that does not exist",
    401: "no valid token",
    403: "the token or login lacks the right",
    404: "no such object, or not yours",
    408: "the bytes came too slowly: connect again and go on",
    409: "not in this state, or in conflict with what is stored",
    410: "it was, and is no more",
    411: "no Content-Length",
    412: "not tus 1.0.0",
    413: "too large",
    415: "another media type or encoding than is read",
    422: "a value that is not allowed",
    423: "another request is sending to this upload",
    429: "more than this vehicle may send or ask for now, or too many refused tokens: wait for Retry-After",
    460: "not the announced checksum",
    503: "storage or database unavailable: send again later",
    507: "no room left: send again later",
}
EVERYWHERE = (401, 403, 429, 503)


def problems(*statuses: int) -> dict[Any, Any]:
    """Responses of these statuses, and of those that every call can have."""
    return {(status, PROBLEM): OpenApiResponse(Problem, MEANINGS[status]) for status in sorted({*statuses, *EVERYWHERE})}


FILES_PENDING = {
    (409, PROBLEM): OpenApiResponse(FilesPendingProblem, "files are on their way or not as announced, or the batch was abandoned")
}


def _header(name: str, description: str) -> OpenApiParameter:
    return OpenApiParameter(name, OpenApiTypes.STR, OpenApiParameter.HEADER, description=description)


KIND = _header("X-Argus-Kind", "what the file is, up to 32 letters, digits, '.', '_' or '-'")
DIGESTS = [
    _header("Repr-Digest", "sha-256=:<base64>: of the file (RFC 9530); other bytes are refused"),
    _header("Content-Digest", "the same"),
    KIND,
]
IDEMPOTENCY_KEY = _header(
    "Idempotency-Key",
    "up to 255 printable characters, new for each new request: for 30 days a repeated request gets the answer of the first one, marked "
    "with the header Idempotency-Replayed; with another body it is 422 idempotency_mismatch, while the first one runs 409 in_progress",
)
IF_NONE_MATCH = _header("If-None-Match", "an ETag: 304 without a body if nothing has changed")
BYTES = {"application/octet-stream": OpenApiTypes.BINARY}
FORM = {
    "multipart/form-data": {
        "type": "object",
        "properties": {"file": {"type": "string", "format": "binary"}},
        "required": ["file"],
        "additionalProperties": False,
    }
}

# -- tus -------------------------------------------------------------------------------------------------------------

TUS_RESUMABLE = OpenApiParameter("Tus-Resumable", OpenApiTypes.STR, OpenApiParameter.HEADER, required=True, enum=["1.0.0"])
TUS_BYTES = {"application/offset+octet-stream": OpenApiTypes.BINARY}
TUS_CHECKSUM = _header(
    "Upload-Checksum", "sha1, sha256 or crc32c, a space, the sum of this body in base64: all of the body counts or nothing"
)
TUS_LENGTH = OpenApiParameter("Upload-Length", OpenApiTypes.INT, OpenApiParameter.HEADER, description="bytes of the whole file")
TUS_CREATION = [
    TUS_RESUMABLE,
    TUS_LENGTH,
    OpenApiParameter("Upload-Defer-Length", OpenApiTypes.INT, OpenApiParameter.HEADER, enum=[1], description="the length is said later"),
    _header("Upload-Metadata", "filename (or name), sha256 (hex), kind, priority: pairs of a key and a value in base64"),
    TUS_CHECKSUM,
    IDEMPOTENCY_KEY,
]
TUS_PATCH = [
    TUS_RESUMABLE,
    OpenApiParameter("Upload-Offset", OpenApiTypes.INT, OpenApiParameter.HEADER, required=True, description="where the body begins"),
    TUS_LENGTH,
    TUS_CHECKSUM,
]
TUS_CREATION_PROBLEMS = problems(400, 404, 408, 409, 410, 411, 412, 413, 415, 422, 423, 429, 460, 507)
TUS_PATCH_PROBLEMS = problems(400, 404, 408, 409, 410, 411, 412, 413, 415, 422, 423, 429, 460, 507)
