"""The batch in the admin: its list, its page, and the addresses below it. Read-only; what changes a batch is a POST of its own."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST, require_safe

from batches import closing, notes
from batches.admin import actions, filters, plots, queries
from batches.admin import log as log_page
from batches.admin.actions import Action
from batches.admin.arriving import arrival, arriving
from batches.admin.page import head, page
from batches.admin.report import clock_words
from batches.admin.stages import severity_pill, stage_bar, state_pill
from batches.models import ENDED, Batch
from common.display import age, count, size, span, utc, visible
from common.errors import ArgusError
from common.keyset import KeysetChangeList
from common.lookups import BoundedLookups
from events.actors import user_actor

LONGEST_REASON = 500
LONGEST_FENCE = 9  # digits
MOST_AT_ONCE = 100


@admin.register(Batch)
class BatchAdmin(BoundedLookups):
    """See templates/admin/batches/batch/ for the pages."""

    list_display = ("progress", "vehicle_column", "recorded", "received", "files_column", "size", "severity", "in_state")
    list_filter = (
        filters.StateFilter,
        filters.SeverityFilter,
        filters.PlatformFilter,
        filters.FleetFilter,
        filters.ClockFilter,
        filters.ReceivedFilter,
        filters.VehicleFilter,
    )
    list_per_page = 50
    sortable_by = ()
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    search_fields = ("id",)
    search_help_text = "Part of a VIN or vehicle name, or the beginning of a batch id"
    actions = ("retry_failed_files",)
    actions_on_top, actions_on_bottom = True, False

    # -- who may ------------------------------------------------------------------------------------------------------

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Vehicles open batches."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Batch | None = None) -> bool:
        """Nothing is edited; actions are POSTs of their own."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Batch | None = None) -> bool:
        """Django's own deletion would leave the stored bytes behind."""
        return False

    def has_retrigger_permission(self, request: HttpRequest) -> bool:
        """For the bulk action."""
        return request.user.has_perm(actions.RETRIGGER)

    # -- the list -----------------------------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[Batch]:
        """Without the wide columns; the vehicle comes along."""
        return queries.listed()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Paged by key, never counted."""
        return KeysetChangeList

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Batch], search_term: str) -> tuple[QuerySet[Batch], bool]:
        """Vehicles and ids are resolved first."""
        return queries.found(queryset, search_term), False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list under its own name."""
        return super().changelist_view(request, {"title": "Batches", "subtitle": None, **(extra_context or {})})

    def action_checkbox(self, obj: Batch) -> SafeString:
        """Django renders a widget template for each row: a third of the list's time."""
        box = '<input type="checkbox" name="{}" value="{}" class="action-select" aria-label="Choose {}">'
        return format_html(box, ACTION_CHECKBOX_NAME, obj.pk, obj)

    @admin.display(description="State")
    def progress(self, batch: Batch) -> SafeString:
        """Pill, stage bar, short id."""
        return format_html(
            '<span class="pills">{}</span>{}<span class="mono quiet">{}</span>', state_pill(batch), stage_bar(batch), str(batch.pk)[:8]
        )

    @admin.display(description="Vehicle")
    def vehicle_column(self, batch: Batch) -> SafeString:
        """Name, VIN tail, platform."""
        platform = batch.vehicle.platform.name if batch.vehicle.platform else "no platform"
        return format_html(
            '<strong>{}</strong><br><span class="quiet"><span class="mono">…{}</span> · {}</span>',
            visible(batch.vehicle),
            batch.vehicle.vin_tail,
            visible(platform),
        )

    @admin.display(description="Recorded (UTC)")
    def recorded(self, batch: Batch) -> SafeString:
        """By the vehicle's clock, with a flag where that clock is wrong; before the files are read, what the vehicle announced."""
        if batch.recorded_from is None and batch.declared_from:
            return format_html('{}<br><span class="quiet">announced</span>', span(batch.declared_from, batch.declared_to))
        flags = ", ".join(clock_words(flag) for flag in batch.clock_flags)
        warning = format_html('<br><span class="flag">{}</span>', flags) if flags else SafeString("")
        return format_html("{}{}", span(batch.recorded_from, batch.recorded_to), warning)

    @admin.display(description="Received (UTC)")
    def received(self, batch: Batch) -> str:
        """When the vehicle opened it."""
        return utc(batch.created_at)[:16]

    @admin.display(description="Files")
    def files_column(self, batch: Batch) -> SafeString:
        """Read, failed, all."""
        failed = format_html(' · <span class="bad">{} failed</span>', count(batch.failed_files)) if batch.failed_files else SafeString("")
        return format_html("{} of {}{}", count(batch.processed_files), count(batch.total_files), failed)

    @admin.display(description="Size")
    def size(self, batch: Batch) -> str:
        """Of the stored files."""
        return size(batch.total_bytes)

    @admin.display(description="Worst finding")
    def severity(self, batch: Batch) -> SafeString:
        """Pill and number of findings."""
        number = format_html(' <span class="quiet">{}</span>', count(batch.finding_count)) if batch.finding_count else SafeString("")
        return format_html("{}{}", severity_pill(batch.worst_severity), number)

    @admin.display(description="In state")
    def in_state(self, batch: Batch) -> SafeString:
        """How long it has been in its state; conspicuous when a running batch takes long."""
        late = batch.state not in ENDED and batch.state != "pending" and _older(batch)
        return format_html('<span class="{}">{}</span>', "late" if late else "", age(batch.state_changed_at))

    @admin.action(description="Retry failed files", permissions=["retrigger"])
    def retry_failed_files(self, request: HttpRequest, queryset: QuerySet[Batch]) -> HttpResponse | None:
        """Says first how much would run; then each batch by itself, and what each refusal was."""
        action = actions.BY_NAME["retry-failed-files"]
        chosen = list(queryset.order_by("-created_at", "-pk")[:MOST_AT_ONCE])
        fitting = [batch for batch in chosen if action.possible(batch)]
        if not fitting:
            messages.warning(request, "None of the chosen batches has failed files that can be retried.")
            return None
        if request.POST.get("confirmed") != "1":
            context = {
                **self.admin_site.each_context(request),
                "title": "Retry failed files",
                "batches": fitting,
                "left_out": len(chosen) - len(fitting),
                "files": sum(batch.failed_files for batch in fitting),
                "opts": self.opts,
            }
            return TemplateResponse(request, "admin/batches/batch/confirm_bulk.html", context)
        done = 0
        for batch in fitting:
            fence = request.POST.get(f"fence-{batch.pk}", "")
            if not fence.isdecimal() or len(fence) > LONGEST_FENCE:
                continue
            try:
                actions.perform(
                    action,
                    batch.pk,
                    actor=user_actor(request.user),
                    seen_fence=int(fence),
                    reason=request.POST.get("reason", "")[:LONGEST_REASON],
                )
                done += 1
            except ArgusError as error:
                messages.error(request, f"{batch}: {error.detail}")
        messages.success(request, f"The failed files of {done} {'batch' if done == 1 else 'batches'} will be parsed again.")
        return None

    # -- one batch ----------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        """What lies below a batch, before Django's own catch-all."""
        own = (
            ("<uuid:batch_id>/progress/", self.progress_view, "progress"),
            ("<uuid:batch_id>/log/", self.log_view, "log"),
            ("<uuid:batch_id>/plot/", self.plot_view, "plot"),
            ("<uuid:batch_id>/plot.svg", self.picture_view, "picture"),
            ("<uuid:batch_id>/note/", self.note_view, "note"),
            ("<uuid:batch_id>/act/<slug:name>/", self.act_view, "act"),
            ("<uuid:batch_id>/upload/<uuid:upload_id>/end/", self.end_upload_view, "end_upload"),
        )
        return [
            path(route, self.admin_site.admin_view(view), name=f"batches_batch_{name}") for route, view, name in own
        ] + super().get_urls()

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The batch page."""
        return require_safe(self._page)(request, object_id)

    def _page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        try:
            batch = self._seen(request, UUID(object_id))
        except ValueError as error:
            raise Http404 from error
        context = {
            **self.admin_site.each_context(request),
            "title": f"{visible(batch.vehicle)} · {batch}",
            "opts": self.opts,
            **page(request, batch),
        }
        return TemplateResponse(request, "admin/batches/batch/page.html", context)

    def progress_view(self, request: HttpRequest, batch_id: UUID) -> HttpResponse:
        """The live part of the page; the script asks every two seconds while the batch runs."""
        return require_safe(self._progress)(request, batch_id)

    def _progress(self, request: HttpRequest, batch_id: UUID) -> HttpResponse:
        batch = self._seen(request, batch_id)
        html = render_to_string("admin/batches/batch/progress.html", head(batch), request)
        coming = render_to_string("admin/batches/batch/arriving.html", {"batch": batch, **arriving(batch, request.user)}, request)
        return JsonResponse({"state": batch.state, "fence": batch.fence, "ended": batch.state in ENDED, "html": html, "arriving": coming})

    def log_view(self, request: HttpRequest, batch_id: UUID) -> HttpResponse:
        """The log messages, searched."""
        return require_safe(self._log)(request, batch_id)

    def _log(self, request: HttpRequest, batch_id: UUID) -> HttpResponse:
        batch = self._seen(request, batch_id)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Log of {visible(batch.vehicle)} · {batch}",
            "opts": self.opts,
            **log_page.page(request, batch),
        }
        return TemplateResponse(request, "admin/batches/batch/log.html", context)

    def plot_view(self, request: HttpRequest, batch_id: UUID) -> HttpResponse:
        """One signal in a range, as JSON."""
        return require_safe(lambda request: plots.data(request, self._seen(request, batch_id)))(request)

    def picture_view(self, request: HttpRequest, batch_id: UUID) -> HttpResponse:
        """The plot as SVG."""
        return require_safe(lambda request: plots.picture(request, self._seen(request, batch_id)))(request)

    def note_view(self, request: HttpRequest, batch_id: UUID) -> HttpResponse:
        """Keep a note."""
        return require_POST(self._note)(request, batch_id)

    def _note(self, request: HttpRequest, batch_id: UUID) -> HttpResponse:
        batch = self._seen(request, batch_id)
        if not request.user.has_perm("batches.comment_batch"):
            raise PermissionDenied
        try:
            notes.add_note(batch.pk, request.user, request.POST.get("text", ""))
        except ArgusError as error:
            messages.error(request, error.detail)
        return HttpResponseRedirect(reverse("admin:batches_batch_change", args=[batch_id]) + "#notes")

    def end_upload_view(self, request: HttpRequest, batch_id: UUID, upload_id: UUID) -> HttpResponse:
        """Asks, and on POST ends an upload that will not come."""
        batch = self._seen(request, batch_id)
        if not request.user.has_perm(actions.CANCEL):
            raise PermissionDenied
        if request.method == "POST":
            reason = request.POST.get("reason", "")[:LONGEST_REASON]
            try:
                closing.end_upload(batch_id, upload_id, actor=user_actor(request.user), reason=reason)
                messages.success(request, "The upload is ended.")
            except ArgusError as error:
                messages.error(request, error.advice)
            return HttpResponseRedirect(reverse("admin:batches_batch_change", args=[batch_id]))
        upload = queries.arriving_one(batch, upload_id)
        if upload is None:
            raise Http404
        context = {
            **self.admin_site.each_context(request),
            "title": "End upload",
            "row": arrival(upload),
            "opts": self.opts,
            **head(batch),
        }
        return TemplateResponse(request, "admin/batches/batch/end_upload.html", context)

    def act_view(self, request: HttpRequest, batch_id: UUID, name: str) -> HttpResponse:
        """Do what a button says, after its question was answered."""
        return require_POST(self._act)(request, batch_id, name)

    def _act(self, request: HttpRequest, batch_id: UUID, name: str) -> HttpResponse:
        action = actions.BY_NAME.get(name)
        if action is None:
            raise Http404
        batch = self._seen(request, batch_id)
        if not request.user.has_perm(action.permission):
            raise PermissionDenied
        fence = request.POST.get("fence", "")
        if not fence.isdecimal() or len(fence) > LONGEST_FENCE:
            messages.error(request, "The form was incomplete. Nothing was done; try again.")
        elif action.ask and request.POST.get("confirmed") != "1":
            context = {
                **self.admin_site.each_context(request),
                "title": action.label,
                "action": action,
                "fence": fence,
                "opts": self.opts,
                **head(batch),
            }
            return TemplateResponse(request, "admin/batches/batch/confirm.html", context)
        elif self._perform(request, action, batch_id, int(fence)) and action.name == "delete":
            return HttpResponseRedirect(reverse("admin:batches_batch_changelist"))
        return HttpResponseRedirect(reverse("admin:batches_batch_change", args=[batch_id]))

    def _perform(self, request: HttpRequest, action: Action, batch_id: UUID, fence: int) -> bool:
        try:
            actions.perform(
                action, batch_id, actor=user_actor(request.user), seen_fence=fence, reason=request.POST.get("reason", "")[:LONGEST_REASON]
            )
        except ArgusError as error:
            messages.error(request, error.advice)
            return False
        messages.success(request, action.done)
        return True

    def _seen(self, request: HttpRequest, batch_id: UUID) -> Batch:
        """The batch, for somebody who may look at it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        batch = queries.batch_page(batch_id)
        if batch is None:
            raise Http404
        return batch


def _older(batch: Batch) -> bool:
    """Longer in its state than a file may take."""
    return timezone.now() - batch.state_changed_at > queries.STUCK_AFTER
