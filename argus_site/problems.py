"""Every API error as a problem document (RFC 9457) with a stable `code`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import structlog
from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views import defaults
from rest_framework import exceptions
from rest_framework.response import Response

from common.errors import ArgusError, InvalidField, MalformedBody, NotFound, UnknownField

log = structlog.get_logger("argus.problem")

CONTENT_TYPE = "application/problem+json"
NAMED_FIELDS = 3

# What the framework refuses by itself: status -> code, title, what the caller can do.
FRAMEWORK = {
    401: ("not_authenticated", "The request has no valid token", "Send a valid token: Authorization: Bearer argus_v1_…"),
    403: ("permission_denied", "The token or login lacks the right", "Use a token or login that has this right."),
    404: (NotFound.code, NotFound.title, NotFound.action),
    405: ("method_not_allowed", "The address does not know this method", "Use one of the methods in the Allow header."),
    406: ("not_acceptable", "There is no such representation", "Ask for application/json."),
    415: (
        "unsupported_media_type",
        "The body has a media type that is not read",
        "Send application/json, or multipart/form-data for files.",
    ),
    429: ("throttled", "Too many requests", "Slow down."),
}


def problem(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler; None (a 500, logged with its trace) for what nobody foresaw."""
    refused = _as_argus(error)
    if refused is None:
        return None
    request = context["request"]
    response = Response(document(request, refused), status=refused.status, content_type=CONTENT_TYPE)
    if refused.retry_after is not None:
        response["Retry-After"] = str(refused.retry_after)
    if refused.status == 401:
        response["WWW-Authenticate"] = 'Bearer realm="argus"'
    return response


def document(request: HttpRequest, error: ArgusError) -> dict[str, Any]:
    """The members of the problem document."""
    return {
        "type": f"urn:argus:problem:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "action": error.action,
        "request_id": getattr(request, "id", None),
        "retryable": error.retryable,
        **error.extra,
    }


def _as_argus(error: Exception) -> ArgusError | None:
    if isinstance(error, ArgusError):
        return error
    if isinstance(error, Http404):
        return NotFound()
    if isinstance(error, PermissionDenied):
        return _of_framework(exceptions.PermissionDenied())
    if isinstance(error, exceptions.ValidationError):
        return _of_validation(error)
    if isinstance(error, exceptions.ParseError):
        return MalformedBody(str(error.detail))
    if isinstance(error, exceptions.APIException):
        return _of_framework(error)
    if isinstance(error, (OperationalError, InterfaceError)):
        log.exception("database unavailable")
        return DatabaseUnavailable()
    return None


class DatabaseUnavailable(ArgusError):
    status = 503
    code = "database_unavailable"
    title = "The database does not answer"
    action = "Send the request again later."
    retryable = True
    retry_after = 10


class BugFound(ArgusError):
    status = 500
    code = "internal_error"
    title = "Argus has failed"
    action = "Tell the operator the request_id: the log has the rest."


def _of_framework(error: exceptions.APIException) -> ArgusError:
    """Authentication, permission, negotiation, throttling."""
    refused = ArgusError(str(error.detail))
    refused.status = error.status_code
    refused.code, refused.title, refused.action = FRAMEWORK.get(error.status_code, (ArgusError.code, ArgusError.title, ArgusError.action))
    if error.status_code == 429:
        refused.retryable, refused.retry_after = True, int(getattr(error, "wait", None) or 1)
    return refused


def _of_validation(error: exceptions.ValidationError) -> ArgusError:
    """An unknown field is another code than a wrong value; `fields` has the messages in the shape of the body."""
    found = list(_messages(error.detail))
    unknown = [(path, text) for path, text in found if getattr(text, "code", "") == "unknown_field"]
    told = "; ".join(f"{path}: {text}" if path else str(text) for path, text in (unknown or found)[:NAMED_FIELDS])
    return (UnknownField if unknown else InvalidField)(told, fields=error.detail)


def _messages(detail: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every message in an error tree with the path of its field."""
    if isinstance(detail, dict):
        for name, below in detail.items():
            yield from _messages(below, path if name == "non_field_errors" else f"{path}.{name}".lstrip("."))
    elif isinstance(detail, list):
        for below in detail:
            yield from _messages(below, path)
    else:
        yield path, detail


# -- what never reaches a view -------------------------------------------------------------------------------------------


def _plain(request: HttpRequest, error: ArgusError) -> HttpResponse:
    return JsonResponse(document(request, error), status=error.status, content_type=CONTENT_TYPE)


def _is_api(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler400."""
    return _plain(request, ArgusError()) if _is_api(request) else defaults.bad_request(request, exception)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler403."""
    return (
        _plain(request, _of_framework(exceptions.PermissionDenied()))
        if _is_api(request)
        else defaults.permission_denied(request, exception)
    )


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler404: an unknown address below /api/ reads as an unknown object."""
    return _plain(request, NotFound()) if _is_api(request) else defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """handler500; Django has logged the trace."""
    return _plain(request, BugFound()) if _is_api(request) else defaults.server_error(request)
