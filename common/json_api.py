"""What every part of the API has in common: strict bodies, one representation, errors as problem documents."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

LISTED_ERRORS = 10


class AlwaysJSON(BaseContentNegotiation):
    """There is one representation: an Accept header that asks for another one gets it all the same (RFC 9110, 12.5.1)."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser | None:
        """The parser for the body's media type; None (415) for another one."""
        media_type = request.content_type.partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == media_type), None)

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """The only one."""
        (renderer,) = renderers
        return renderer, str(renderer.media_type)


class StrictSerializer(serializers.Serializer):
    """Refuses fields that it does not know: a misspelt one must not be lost in silence, and none may set what is not the caller's."""

    def to_internal_value(self, data: Any) -> Any:
        """The checked values."""
        if isinstance(data, dict) and (unknown := [str(name) for name in data if name not in self.fields]):
            # JSON can name half of a surrogate pair, which no answer can carry.
            named = [name[:100].encode(errors="backslashreplace").decode() for name in unknown[:LISTED_ERRORS]]
            raise ValidationError({name: [ErrorDetail("There is no such field.", code="unknown_field")] for name in named})
        return super().to_internal_value(data)


class Problem(serializers.Serializer):
    """An error (RFC 9457); some codes have further members."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    code = serializers.CharField()
    action = serializers.CharField()
    request_id = serializers.CharField(allow_null=True)
    retryable = serializers.BooleanField()
