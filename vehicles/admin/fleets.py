"""Fleets and platforms in the admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, Prefetch, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from common.display import count, visible
from common.lookups import BoundedLookups
from vehicles.admin.parts import link
from vehicles.models import Fleet, Platform, SignalDatabase


@admin.register(Fleet)
class FleetAdmin(BoundedLookups):
    """Vehicles that are run together, and what a batch of theirs does with unreadable files."""

    list_display = ("name", "failure_policy", "vehicles_column")
    search_fields = ("name",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Fleet]:
        """With the number of vehicles."""
        return super().get_queryset(request).annotate(vehicle_count=Count("vehicles"))

    @admin.display(description="Vehicles")
    def vehicles_column(self, fleet: Any) -> SafeString:
        """Link to them."""
        return link("vehicles_vehicle_changelist", count(fleet.vehicle_count), query=f"?fleet__id__exact={fleet.pk}")


@admin.register(Platform)
class PlatformAdmin(BoundedLookups):
    """Vehicle types and the signal databases that they are decoded with."""

    list_display = ("name", "description", "databases_column", "vehicles_column")
    search_fields = ("name",)
    readonly_fields = ("databases_list", "vehicles_column")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Platform]:
        """With the number of vehicles; databases without their content."""
        slim = SignalDatabase.objects.filter(active=True).defer("content", "compiled", "signature")
        counted = super().get_queryset(request).annotate(vehicle_count=Count("vehicles"))
        return counted.prefetch_related(Prefetch("signal_databases", queryset=slim, to_attr="used"))

    def get_fields(self, request: HttpRequest, obj: Platform | None = None) -> Any:
        """Databases and vehicles only once it exists."""
        return ["name", "description", *(self.readonly_fields if obj else ())]

    @admin.display(description="Signal databases in use")
    def databases_column(self, platform: Any) -> str:
        """Names and versions."""
        return ", ".join(visible(database) for database in platform.used) or "none: nothing can be decoded"

    @admin.display(description="Signal databases in use")
    def databases_list(self, platform: Any) -> SafeString:
        """Links, and the upload."""
        links = format_html_join(
            "",
            "<li>{} {}</li>",
            (
                (link("vehicles_signaldatabase_change", visible(each), each.pk), f"{count(each.signal_count)} signals")
                for each in platform.used
            ),
        )
        upload = link("vehicles_signaldatabase_add", "Upload a signal database", query=f"?platform={platform.pk}")
        return format_html('<ul class="plain">{}<li>{}</li></ul>', links, upload)

    @admin.display(description="Vehicles")
    def vehicles_column(self, platform: Any) -> SafeString:
        """Link to them."""
        return link("vehicles_vehicle_changelist", count(platform.vehicle_count), query=f"?platform__id__exact={platform.pk}")
