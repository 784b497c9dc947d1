"""Findings (read-only), signal limits and known fault codes (edited here) in the admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from common.display import NOTHING, count, number, pill, utc, visible
from common.errors import ArgusError
from common.lookups import BoundedLookups
from common.records import GivenFilter, RecordAdmin
from diagnosis.forms import CodeTableForm, KnownCodeForm
from diagnosis.known_codes import import_codes
from diagnosis.models import Finding, FindingSeverity, KnownCode, SignalLimit
from events.actors import user_actor


class SeverityFilter(admin.SimpleListFilter):
    """How bad it is."""

    title = "severity"
    parameter_name = "severity"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The worst first."""
        return [(severity.value, severity.label) for severity in reversed(FindingSeverity)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Finding]) -> QuerySet[Finding]:
        """One severity."""
        value = self.value()
        if value and value not in FindingSeverity.values:
            return queryset.none()
        return queryset.filter(severity=value) if value else queryset


class TextFilter(GivenFilter):
    """Exactly the value."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Finding]) -> QuerySet[Finding]:
        """Exactly the value."""
        value = self.value()
        if value and not value.isprintable():
            return queryset.none()  # PostgreSQL refuses NUL in a text
        return queryset.filter(**{str(self.parameter_name): value}) if value else queryset


class RuleFilter(TextFilter):
    title = "rule"
    parameter_name = "rule"


class CodeFilter(TextFilter):
    title = "fault code"
    parameter_name = "code"


@admin.register(Finding)
class FindingAdmin(RecordAdmin):
    """What rules found, across batches."""

    list_display = ("severity_column", "sentence_column", "vehicle_column", "code_column", "count_column", "found")
    list_filter = (SeverityFilter, RuleFilter, CodeFilter)
    fields = (
        "severity_column", "sentence_column", "action_column", "vehicle_column", "code_column", "count_column",
        "stream", "signal", "rule", "rule_version", "details", "found",
    )  # fmt: skip
    readonly_fields = fields
    list_title = "Findings"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Finding]:
        """With the vehicle of the batch."""
        return Finding.objects.select_related("batch__vehicle").defer("batch__manifest", "batch__software", "batch__clock")

    @admin.display(description="Severity")
    def severity_column(self, finding: Finding) -> SafeString:
        """Pill."""
        return pill(finding.severity, finding.severity)

    @admin.display(description="Finding")
    def sentence_column(self, finding: Finding) -> str:
        """What it is."""
        return visible(finding.sentence)

    @admin.display(description="What to do")
    def action_column(self, finding: Finding) -> str:
        """What to do about it."""
        return visible(finding.action) or NOTHING

    @admin.display(description="Vehicle and batch")
    def vehicle_column(self, finding: Finding) -> SafeString:
        """Link to the batch's findings."""
        address = reverse("admin:batches_batch_change", args=[finding.batch_id])
        name, short = visible(finding.batch.vehicle), str(finding.batch_id)[:8]
        return format_html('<a href="{}#findings">{}</a><br><span class="quiet mono">{}</span>', address, name, short)

    @admin.display(description="Code")
    def code_column(self, finding: Finding) -> str:
        """Fault code."""
        return visible(finding.code) or NOTHING

    @admin.display(description="Count")
    def count_column(self, finding: Finding) -> str:
        """How often it was seen."""
        return count(finding.count)

    @admin.display(description="Found (UTC)")
    def found(self, finding: Finding) -> str:
        """When it was diagnosed."""
        return utc(finding.created_at)[:16]


@admin.register(SignalLimit)
class SignalLimitAdmin(BoundedLookups):
    """Limits apply from the next diagnosis on; "Diagnose again" on a batch applies them to what was recorded before."""

    list_display = ("signal", "platform_column", "low_column", "high_column", "duration_column", "severity_column")
    list_filter = ("severity", "platform")
    list_select_related = ("platform",)
    search_fields = ("signal",)
    ordering = ("signal", "platform")

    @admin.display(description="Platform", ordering="platform")
    def platform_column(self, limit: SignalLimit) -> str:
        """Empty means every platform."""
        return limit.platform.name if limit.platform else "all platforms"

    @admin.display(description="Low", ordering="low")
    def low_column(self, limit: SignalLimit) -> str:
        """Lower bound."""
        return number(limit.low)

    @admin.display(description="High", ordering="high")
    def high_column(self, limit: SignalLimit) -> str:
        """Upper bound."""
        return number(limit.high)

    @admin.display(description="For at least", ordering="duration_s")
    def duration_column(self, limit: SignalLimit) -> str:
        """How long it must be outside."""
        return f"{number(limit.duration_s)} s"

    @admin.display(description="Severity", ordering="severity")
    def severity_column(self, limit: SignalLimit) -> SafeString:
        """Pill."""
        return pill(limit.severity, limit.severity)


@admin.register(KnownCode)
class KnownCodeAdmin(BoundedLookups):
    """Codes apply from the next diagnosis on, as limits do."""

    form = KnownCodeForm
    list_display = ("code", "text_column", "platform_column", "severity_column", "action_column")
    list_filter = ("severity", "platform")
    list_select_related = ("platform",)
    search_fields = ("code", "text")
    search_help_text = "Part of a code or of its text"
    show_full_result_count = False
    ordering = ("code", "platform")
    change_list_template = "admin/diagnosis/knowncode/change_list.html"

    @admin.display(description="Meaning", ordering="text")
    def text_column(self, known: KnownCode) -> str:
        """What it means."""
        return visible(known.text)

    @admin.display(description="Platform", ordering="platform")
    def platform_column(self, known: KnownCode) -> str:
        """Empty means every platform."""
        return visible(known.platform) if known.platform else "all platforms"

    @admin.display(description="Severity", ordering="severity")
    def severity_column(self, known: KnownCode) -> SafeString | str:
        """Pill; empty is left to the kind of the code."""
        return pill(known.severity, known.severity) if known.severity else NOTHING

    @admin.display(description="What to do")
    def action_column(self, known: KnownCode) -> str:
        """What to do about it."""
        return visible(known.action) or NOTHING

    def get_urls(self) -> list[URLPattern]:
        """The import."""
        return [path("import/", self.admin_site.admin_view(self.import_view), name="diagnosis_knowncode_import"), *super().get_urls()]

    def import_view(self, request: HttpRequest) -> HttpResponse:
        """A table of codes, taken whole or not at all."""
        if not (self.has_add_permission(request) and self.has_change_permission(request)):
            raise PermissionDenied
        form = CodeTableForm(request.POST or None, request.FILES or None)
        if request.method == "POST" and form.is_valid():
            platform = form.cleaned_data["platform"]
            try:
                done = import_codes(form.cleaned_data["file"].read(), platform.pk if platform else None, actor=user_actor(request.user))
            except ArgusError as error:
                form.add_error("file", error.detail)
            else:
                messages.success(
                    request, f"{count(done.added)} codes are new, {count(done.changed)} were known and say now what the table says."
                )
                return HttpResponseRedirect(reverse("admin:diagnosis_knowncode_changelist"))
        context = {
            **self.admin_site.each_context(request),
            "title": "Import fault codes",
            "form": form,
            "opts": self.opts,
            "button": "Import",
            "hint": "A CSV table whose first line names the columns: code, text and, if you have them, severity and action. "
            "Codes are written P1234, U0100-87, SPN 110 or SPN 110 FMI 0.",
        }
        return TemplateResponse(request, "admin/simple_form.html", context)
