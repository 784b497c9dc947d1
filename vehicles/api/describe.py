"""How the API description speaks of the errors of these calls."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiResponse

from common.json_api import Problem

PROBLEM = "application/problem+json"
MEANINGS = {
    400: "malformed body, or a field that does not exist",
    401: "no valid token",
    403: "rejected, or the token opens something else",
    404: "no such address: the id is none",
    409: "not in this state",
    411: "no Content-Length",
    413: "too large",
    415: "another media type than is read",
    422: "a value that is not allowed",
    429: "too many requests, or too many refused tokens: wait for Retry-After",
    503: "database unavailable: send again later",
}
EVERYWHERE = (401, 403, 429, 503)


def problems(*statuses: int) -> dict[Any, Any]:
    """Responses of these statuses, and of those that every call can have."""
    return {(status, PROBLEM): OpenApiResponse(Problem, MEANINGS[status]) for status in sorted({*statuses, *EVERYWHERE})}
