"""Filters of the batch list; each leaves a condition that one of the list's indexes serves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from batches.admin import queries
from batches.models import RUNNING, Batch, BatchState, Severity
from vehicles.models import Fleet, Platform, Vehicle

MOST_CHOICES = 200
VIEWS = {"running": "Running", "stuck": "No progress", "issues": "Completed with issues"}
AGES = {"1d": ("Last 24 hours", 1), "7d": ("Last 7 days", 7), "30d": ("Last 30 days", 30)}


class RelatedFilter(admin.SimpleListFilter):
    """Choices that are rows; a value in the address counts even while there is nothing to choose from."""

    def has_output(self) -> bool:
        """Django leaves out filters without choices, and would show everything."""
        return super().has_output() or self.value() is not None


class StateFilter(admin.SimpleListFilter):
    """One state, or a view of several: running, without progress, completed with issues."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Views first, then the states in their order."""
        return [*VIEWS.items(), *((state.value, state.label) for state in BatchState)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Batch]) -> QuerySet[Batch]:
        """Unknown values choose nothing."""
        value = self.value()
        if value is None:
            return queryset
        if value == "running":
            return queryset.filter(state__in=RUNNING)
        if value == "stuck":
            return queries.stuck(queryset)
        if value == "issues":
            return queryset.filter(state=BatchState.COMPLETED, failed_files__gt=0)
        return queryset.filter(state=value) if value in BatchState.values else queryset.none()


class SeverityFilter(admin.SimpleListFilter):
    """The worst finding of the batch."""

    title = "severity"
    parameter_name = "severity"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The worst first."""
        return [("bad", "Error or critical"), *((severity.value, severity.label) for severity in reversed(Severity))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Batch]) -> QuerySet[Batch]:
        """`bad` is error or critical."""
        value = self.value()
        if value is None:
            return queryset
        if value == "bad":
            return queryset.filter(worst_severity__in=queries.BAD)
        return queryset.filter(worst_severity=value) if value in Severity.values else queryset.none()


class PlatformFilter(RelatedFilter):
    """The platform of the vehicle."""

    title = "platform"
    parameter_name = "platform"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        """By name."""
        return list(Platform.objects.values_list("pk", "name")[:MOST_CHOICES])

    def queryset(self, request: HttpRequest, queryset: QuerySet[Batch]) -> QuerySet[Batch]:
        """A subquery over the few vehicles, not a condition on the join."""
        return queryset.filter(vehicle__in=Vehicle.objects.filter(platform=number(self.value())).order_by()) if self.value() else queryset


class FleetFilter(RelatedFilter):
    """The fleet of the vehicle."""

    title = "fleet"
    parameter_name = "fleet"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        """By name."""
        return list(Fleet.objects.values_list("pk", "name")[:MOST_CHOICES])

    def queryset(self, request: HttpRequest, queryset: QuerySet[Batch]) -> QuerySet[Batch]:
        """A subquery over the few vehicles, not a condition on the join."""
        return queryset.filter(vehicle__in=Vehicle.objects.filter(fleet=number(self.value())).order_by()) if self.value() else queryset


class ClockFilter(admin.SimpleListFilter):
    """Batches whose recording has a clock that cannot be trusted."""

    title = "clock"
    parameter_name = "clock"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Only the question that somebody has."""
        return [("problem", "Clock problem")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Batch]) -> QuerySet[Batch]:
        """Any flag counts."""
        return queryset.exclude(clock_flags=[]) if self.value() == "problem" else queryset


class ReceivedFilter(admin.SimpleListFilter):
    """When the batch was opened: a span back from now, or one day (UTC, `YYYY-MM-DD`)."""

    title = "received"
    parameter_name = "received"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The spans, and the day that is chosen."""
        choices = [(key, label) for key, (label, _) in AGES.items()]
        chosen = request.GET.get(self.parameter_name, "")
        return [*choices, (chosen, chosen)] if self.day(chosen) else choices

    def queryset(self, request: HttpRequest, queryset: QuerySet[Batch]) -> QuerySet[Batch]:
        """Unknown values choose nothing."""
        value = self.value()
        if not value:
            return queryset
        if value in AGES:
            return queryset.filter(created_at__gte=timezone.now() - timedelta(days=AGES[value][1]))
        day = self.day(value)
        return queryset.filter(created_at__gte=day, created_at__lt=day + timedelta(days=1)) if day else queryset.none()

    @staticmethod
    def day(text: str) -> datetime | None:
        """The start of a day, if `text` is one."""
        try:
            return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError:
            return None


class VehicleFilter(admin.SimpleListFilter):
    """One vehicle, by the link of its page; there are too many for a list of choices."""

    title = "vehicle"
    parameter_name = "vehicle"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The chosen vehicle only."""
        chosen = request.GET.get(self.parameter_name)
        return [(chosen, "this vehicle")] if chosen else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Batch]) -> QuerySet[Batch]:
        """By id."""
        if not self.value():
            return queryset
        try:
            return queryset.filter(vehicle=UUID(self.value()))
        except ValueError:
            return queryset.none()


def number(text: str | None) -> int:
    """A key from the address bar; 0, which no row has, for anything else."""
    return int(text) if text and text.isdecimal() and len(text) < 19 else 0
