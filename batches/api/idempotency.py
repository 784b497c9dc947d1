"""The header Idempotency-Key: a repeated call is answered with what the first one was answered."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.db import transaction
from django.http import HttpResponse
from rest_framework.exceptions import ValidationError
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from batches import idempotency
from batches.api import access, body
from common.errors import ArgusError, InvalidField

KEY = re.compile(r"[!-~](?:[ -~]{0,253}[!-~])?")
REPLAYED = "Idempotency-Replayed"


def idempotent(method: Callable[..., Any]) -> Callable[..., Any]:
    """For a view method that takes JSON and does nothing but database work: with the header, it does it once for each key.

    The body is read before; what is wrong with it is answered without looking at the key.
    """

    @wraps(method)
    def call(view: APIView, request: Request, *args: Any, **kwargs: Any) -> Any:
        if key_of(request) is None:
            return method(view, request, *args, **kwargs)
        body.need_length(request._request)
        asked = json.dumps(request.data, sort_keys=True).encode()
        return once(view, request, asked, lambda: method(view, request, *args, **kwargs))

    return call


def once(view: APIView, request: Request, asked: bytes, effect: Callable[[], Response]) -> Response | HttpResponse:
    """The response of `effect`, or with an Idempotency-Key that was used before the response of then, marked as such.

    `asked` is what, beside method and address, makes a request the same one: its body, or the headers that say what is wanted. `effect`
    does nothing but database work. Raises InvalidField for a key that is none, IdempotencyMismatch, InProgress and what `effect` raises.
    """
    key = key_of(request)
    if key is None:
        return effect()
    fingerprint = idempotency.fingerprint(str(request.method).encode(), request.path.encode(), asked)
    given: list[Response] = []

    def answer() -> idempotency.Answer:
        response, code = _response(view, effect)
        given.append(response)
        content = b"" if response.data is None else JSONRenderer().render(response.data)
        return idempotency.Answer(response.status_code, content, _headers(response), code)

    kept, replayed = idempotency.once(idempotency.Call(access.actor_of(request), key, fingerprint), answer)
    return _again(request, kept) if replayed else given[0]


def key_of(request: Request) -> str | None:
    """The key of the request, if it has one. Raises InvalidField."""
    key = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if key is not None and not KEY.fullmatch(key):
        raise InvalidField("Idempotency-Key: 1 to 255 printable ASCII characters.")
    return None if key is None else str(key)


def _response(view: APIView, effect: Callable[[], Response]) -> tuple[Response, str]:
    """What the effect answers, and the code of its refusal: one that lasts is an answer like any other, the rest undoes everything."""
    try:
        with transaction.atomic():
            return effect(), ""
    except (ArgusError, ValidationError) as error:
        response = view.handle_exception(error)
        code = getattr(error, "code", "")
        if not idempotency.Answer(response.status_code, b"", code=code).lasts:
            raise
        return response, code


def _headers(response: Response) -> dict[str, str]:
    """The headers that the view has set; the others are set anew for each answer."""
    named = {str(name): str(value) for name, value in response.headers.items()}
    return {**named, "Content-Type": response.content_type or "application/json"}


def _again(request: Request, kept: idempotency.Answer) -> HttpResponse:
    content = kept.body
    if kept.status >= 400:  # a refusal names the request that it answers
        content = json.dumps({**json.loads(content), "request_id": getattr(request._request, "id", None)}).encode()
    return HttpResponse(content, status=kept.status, headers={**kept.headers, REPLAYED: "true"})
