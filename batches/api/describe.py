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
    409: "not in this state, or in conflict with what is stored",
    410: "it was, and is no more",
    411: "no Content-Length",
    413: "too large",
    415: "another media type or encoding than is read",
    422: "a value that is not allowed",
    503: "storage or database unavailable: send again later",
    507: "no room left: send again later",
}
EVERYWHERE = (401, 403, 503)


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
