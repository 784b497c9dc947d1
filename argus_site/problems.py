"""Every API error as a problem document (RFC 9457) with a stable `code`."""

from __future__ import annotations

from typing import Any

import structlog
from django.core.exceptions import PermissionDenied
from django.db import OperationalError
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response

from common.errors import ArgusError, InvalidField, NotFound, UnknownField

log = structlog.get_logger("argus.problem")


def problem(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler; None (a 500, logged with its trace) for what nobody foresaw."""
    if isinstance(error, ArgusError):
        shape = (error.status, error.code, error.title, error.detail, error.action, error.retryable, error.retry_after, error.extra)
    elif isinstance(error, Http404):
        missing = NotFound()
        shape = (404, missing.code, missing.title, missing.detail, missing.action, False, None, {})
    elif isinstance(error, PermissionDenied):
        shape = _of_drf(exceptions.PermissionDenied())
    elif isinstance(error, exceptions.APIException):
        shape = _of_drf(error)
    elif isinstance(error, OperationalError):
        log.exception("database unavailable")
        shape = (503, "database_unavailable", "The database does not answer", "Nothing was changed.", "Send the request again later.", True, 10, {})
    else:
        return None
    return answer(context["request"], *shape)


def answer(
    request: Any, status: int, code: str, title: str, detail: str, action: str, retryable: bool, retry_after: int | None, extra: dict[str, Any]
) -> Response:
    """The document, with the headers its status asks for."""
    body = {
        "type": f"urn:argus:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "action": action,
        "request_id": getattr(request, "id", None),
        "retryable": retryable,
        **extra,
    }
    response = Response(body, status=status, content_type="application/problem+json")
    if retry_after is not None:
        response["Retry-After"] = str(retry_after)
    if status == 401:
        response["WWW-Authenticate"] = 'Bearer realm="argus"'
    return response


def _of_drf(error: exceptions.APIException) -> tuple[int, str, str, str, str, bool, int | None, dict[str, Any]]:
    """The framework's own errors: authentication, permission, parsing, validation, throttling."""
    if isinstance(error, exceptions.ValidationError):
        fields = error.get_full_details()
        codes = {entry["code"] for entries in fields.values() for entry in entries if "code" in entry} if isinstance(fields, dict) else set()
        shape = UnknownField if "unknown_field" in codes else InvalidField
        return (shape.status, shape.code, shape.title, shape.title, shape.action, False, None, {"fields": error.detail})
    actions = {
        401: ("not_authenticated", "Send a valid token: Authorization: Bearer argus_v1_…"),
        403: ("permission_denied", "Use a token or login that has this right."),
        404: ("not_found", NotFound.action),
        405: ("method_not_allowed", "Use one of the methods in the Allow header."),
        406: ("not_acceptable", "Ask for application/json."),
        415: ("unsupported_media_type", "Send application/json, or multipart/form-data for files."),
        429: ("throttled", "Slow down."),
    }
    code, action = actions.get(error.status_code, ("bad_request", "Correct the request and send it again."))
    wait = getattr(error, "wait", None)
    detail = str(error.detail) if isinstance(error.detail, str) else error.default_detail
    return (error.status_code, code, str(error.default_detail), str(detail), action, error.status_code == 429, int(wait) if wait else None, {})
