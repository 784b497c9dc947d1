"""Admin lists of records: rows that people look at and never edit, paged by key and never counted."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse

from common.display import visible
from common.keyset import KeysetChangeList


class RecordAdmin(admin.ModelAdmin):
    """Read-only for everybody; a record goes only with its batch."""

    list_title = ""
    list_per_page = 50
    sortable_by = ()
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Records are written by what they tell of."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Only with the batch."""
        return False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Paged by key, never counted."""
        return KeysetChangeList

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list under its own name."""
        return super().changelist_view(request, {"title": self.list_title, "subtitle": None, **(extra_context or {})})


class GivenFilter(admin.SimpleListFilter):
    """A filter that only a link sets; there are too many values for a list of choices."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The chosen value only."""
        chosen = request.GET.get(str(self.parameter_name))
        return [(chosen, visible(chosen)[:40])] if chosen else []


class BatchFilter(GivenFilter):
    """One batch, by the link of its page."""

    title = "batch"
    parameter_name = "batch"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """By id."""
        if not self.value():
            return queryset
        try:
            return queryset.filter(batch=UUID(self.value()))
        except ValueError:
            return queryset.none()
