"""Admin lists of tables without end: newest first, paged by key, never counted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest

OLDER, NEWER = "older", "newer"
FORM = "%Y%m%dT%H%M%S%f"


def cursor(row: Any) -> str:
    """Where a row stands in the order (created_at, id)."""
    return f"{row.created_at.astimezone(UTC).strftime(FORM)}-{row.pk.hex}"


def beyond(queryset: QuerySet[Any], direction: str, text: str) -> QuerySet[Any]:
    """The rows older (or newer) than the cursor. Raises ValueError when it is none."""
    moment, _, key = text.partition("-")
    at, pk = datetime.strptime(moment, FORM).replace(tzinfo=UTC), UUID(key)
    # The first condition is the one an index on (-created_at, -id) can use, the second breaks ties.
    if direction == OLDER:
        return queryset.filter(created_at__lte=at).filter(Q(created_at__lt=at) | Q(pk__lt=pk))
    return queryset.filter(created_at__gte=at).filter(Q(created_at__gt=at) | Q(pk__gt=pk))


class KeysetChangeList(ChangeList):
    """Rows have `created_at` and a UUID `id`; one query reads a page, whatever the size of the table.

    A ModelAdmin returns it from `get_changelist` and sets `sortable_by = ()`; templates/admin/change_list.html draws the links.
    """

    keyset = True

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Takes the cursors out of the parameters first: they are no filters, and no other link may carry them."""
        for direction in (NEWER, OLDER):
            values = self.filter_params.pop(direction, None)
            self.params.pop(direction, None)
            if values:
                self.cursor = (direction, values[-1])
        return super().get_queryset(request, exclude_parameters)

    def get_results(self, request: HttpRequest) -> None:
        """One page and one row more, which says that there is another page."""
        direction, text = getattr(self, "cursor", (OLDER, ""))
        try:
            queryset = beyond(self.queryset, direction, text) if text else self.queryset
        except ValueError as error:
            raise IncorrectLookupParameters(error) from error
        order = ("created_at", "pk") if direction == NEWER else ("-created_at", "-pk")
        rows: list[Model] = list(queryset.order_by(*order)[: self.list_per_page + 1])
        more = len(rows) > self.list_per_page
        rows = rows[: self.list_per_page]
        if direction == NEWER:
            rows.reverse()
        has_older, has_newer = (True, more) if direction == NEWER else (more, bool(text))
        self.older_link = self.get_query_string({OLDER: cursor(rows[-1])}) if rows and has_older else ""
        self.newer_link = self.get_query_string({NEWER: cursor(rows[0])}) if rows and has_newer else ""
        self.newest_link = self.get_query_string() if text else ""
        self.result_list = rows
        self.result_count = len(rows)
        self.full_result_count = None
        self.show_full_result_count = False
        self.show_admin_actions = True
        self.can_show_all = self.multi_page = False
        self.paginator = None
