"""Pages of batches, the newest first: a cursor stays right while batches come in, and needs no count."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import NotFound
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request

from batches.api.serializers import is_position
from common.errors import InvalidField


class NewestFirst(CursorPagination):
    """50 batches, or `page_size` up to 200."""

    ordering = ("-created_at", "-id")
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200

    def decode_cursor(self, request: Request) -> Cursor | None:
        """The cursor of the request; InvalidField for one that was not made here: its position goes into the query."""
        try:
            cursor = super().decode_cursor(request)
        except NotFound as error:
            raise InvalidField("cursor: it was not made here.") from error
        if cursor is None:
            return None
        position: Any = cursor.position
        # The decoder takes any text; one without meaning would be the first page.
        if (position is None and not cursor.offset and not cursor.reverse) or (position is not None and not is_position(position)):
            raise InvalidField("cursor: it was not made here.")
        return cursor
