"""Events in the admin: the audit list, read-only for everybody."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from common.display import utc, visible
from common.records import BatchFilter, RecordAdmin
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


@admin.register(Event)
class EventAdmin(RecordAdmin):
    """Events are never changed, not even here."""

    list_display = ("at", "type", "batch_column", "seq", "actor", "payload_column")
    list_filter = (TypeFilter, BatchFilter)
    fields = ("type", "at", "batch_column", "seq", "actor", "payload_column")
    readonly_fields = fields
    list_per_page = 100
    list_title = "Events"

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
