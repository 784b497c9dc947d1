"""Events in the admin: the audit list, read-only for everybody."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from common.display import utc, visible
from common.keyset import KeysetChangeList
from events.models import Event, EventType

LONGEST = 200


class TypeFilter(admin.SimpleListFilter):
    """What happened."""

    title = "type"
    parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The published names."""
        return [(kind.value, kind.value) for kind in EventType]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Event]) -> QuerySet[Event]:
        """One type."""
        value = self.value()
        if value and value not in EventType.values:
            return queryset.none()
        return queryset.filter(type=value) if value else queryset


class BatchFilter(admin.SimpleListFilter):
    """One batch, by the link of its page."""

    title = "batch"
    parameter_name = "batch"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The chosen batch only."""
        chosen = request.GET.get(self.parameter_name)
        return [(chosen, chosen[:8])] if chosen else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Event]) -> QuerySet[Event]:
        """By id."""
        if not self.value():
            return queryset
        try:
            return queryset.filter(batch=UUID(self.value()))
        except ValueError:
            return queryset.none()


@admin.register(Event)
class EventAdmin(admin.ModelAdmin):
    """Events are never changed, not even here."""

    list_display = ("at", "type", "batch_column", "seq", "actor", "payload_column")
    list_filter = (TypeFilter, BatchFilter)
    fields = ("type", "at", "batch_column", "seq", "actor", "payload_column")
    readonly_fields = fields
    list_per_page = 100
    sortable_by = ()
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        """They are written with the change that they tell of."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Event | None = None) -> bool:
        """Never."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Event | None = None) -> bool:
        """Only with their batch."""
        return False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Paged by key, never counted."""
        return KeysetChangeList

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list under its own name."""
        return super().changelist_view(request, {"title": "Events", "subtitle": None, **(extra_context or {})})

    @admin.display(description="Time (UTC)")
    def at(self, event: Event) -> str:
        """When it was committed."""
        return utc(event.created_at)

    @admin.display(description="Batch")
    def batch_column(self, event: Event) -> SafeString | str:
        """Link to the batch."""
        if event.batch_id is None:
            return "–"
        return format_html(
            '<a class="mono" href="{}">{}</a>', reverse("admin:batches_batch_change", args=[event.batch_id]), str(event.batch_id)[:8]
        )

    @admin.display(description="Payload")
    def payload_column(self, event: Event) -> SafeString:
        """As JSON, shortened in the list by the style sheet."""
        text = visible(json.dumps(event.payload, ensure_ascii=False))
        return format_html('<code class="payload">{}</code>', text if len(text) <= LONGEST * 20 else text[: LONGEST * 20] + "…")
