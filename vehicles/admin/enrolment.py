"""Enrolment tokens and pre-approved VINs in the admin."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from common.display import NOTHING, age, count, utc, visible
from common.lookups import BoundedLookups
from events.actors import user_actor
from vehicles.admin.parts import enrolment_token_state, link
from vehicles.enrolment_tokens import make_enrolment_token, revoke_enrolment_token
from vehicles.forms import EnrolmentTokenForm, PreapprovalForm, VinTableForm
from vehicles.models import EnrolmentState, EnrolmentToken, Preapproval
from vehicles.preapproval import EXAMPLE, BadVinTable, preapprove


@admin.register(EnrolmentToken)
class EnrolmentTokenAdmin(BoundedLookups):
    """What vehicles announce themselves with. A secret is shown once; here stands who may come until when."""

    list_display = ("key_column", "label_column", "state_column", "uses_column", "waiting_column", "fleet", "platform", "ends", "used")
    list_select_related = ("fleet", "platform")
    search_fields = ("key_id", "label")
    search_help_text = "Key id or label"
    fields = ("key_column", "label", "state_column", "uses_column", "fleet", "platform", "expires_at", "max_uses", "made", "used")
    readonly_fields = ("key_column", "state_column", "uses_column", "made", "used")
    change_form_template = "admin/vehicles/enrolmenttoken/page.html"
    change_list_template = "admin/vehicles/enrolmenttoken/change_list.html"
    empty_value_display = NOTHING
    actions = None

    def has_delete_permission(self, request: HttpRequest, obj: EnrolmentToken | None = None) -> bool:
        """Tokens are revoked, and stay for the record."""
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[EnrolmentToken]:
        """With the number of enrolments that wait."""
        waiting = Count("enrolments", filter=Q(enrolments__state=EnrolmentState.PENDING))
        return super().get_queryset(request).annotate(waiting=waiting)

    @admin.display(description="Key")
    def key_column(self, token: EnrolmentToken) -> SafeString:
        """The part that may be known."""
        return format_html('<span class="mono">{}</span>', str(token))

    @admin.display(description="Label", ordering="label")
    def label_column(self, token: EnrolmentToken) -> str:
        """Where it is used."""
        return visible(token.label)

    @admin.display(description="State")
    def state_column(self, token: EnrolmentToken) -> SafeString:
        """Live, used up, expired or revoked."""
        return enrolment_token_state(token)

    @admin.display(description="Vehicles")
    def uses_column(self, token: EnrolmentToken) -> str:
        """How many came with it, and may."""
        return f"{count(token.uses)} of {count(token.max_uses)}" if token.max_uses is not None else count(token.uses)

    @admin.display(description="Waiting")
    def waiting_column(self, token: Any) -> SafeString | str:
        """Link to those that wait."""
        return link("vehicles_vehicle_changelist", count(token.waiting), query="?state=waiting") if token.waiting else NOTHING

    @admin.display(description="Ends (UTC)", ordering="expires_at")
    def ends(self, token: EnrolmentToken) -> str:
        """When nobody can come with it any more."""
        return utc(token.expires_at)[:16] if token.expires_at else "never"

    @admin.display(description="Made (UTC)")
    def made(self, token: EnrolmentToken) -> str:
        """When."""
        return utc(token.created_at)

    @admin.display(description="Last used")
    def used(self, token: EnrolmentToken) -> str:
        """How long ago."""
        return f"{age(token.last_used_at)} ago" if token.last_used_at else "never"

    def get_urls(self) -> list[URLPattern]:
        """Revoking."""
        view = self.admin_site.admin_view(self.revoke_view)
        return [path("<uuid:token_id>/revoke/", view, name="vehicles_enrolmenttoken_revoke"), *super().get_urls()]

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Make one and show it, this once."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = EnrolmentTokenForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            token, text = make_enrolment_token(actor=user_actor(request.user), **form.cleaned_data)
            context = {
                **self.admin_site.each_context(request),
                "title": "The new enrolment token",
                "token": token,
                "text": text,
                "opts": self.opts,
                "base": f"{request.scheme}://{request.get_host()}",
            }
            response = TemplateResponse(request, "admin/vehicles/enrolmenttoken/shown_once.html", context)
            response["Cache-Control"] = "no-store"
            return response
        context = {
            **self.admin_site.each_context(request),
            "title": "Make an enrolment token",
            "form": form,
            "opts": self.opts,
            "button": "Make enrolment token",
            "hint": "A vehicle that announces itself with it waits until somebody accepts it, unless its VIN is pre-approved. "
            "The token opens nothing else.",
        }
        return TemplateResponse(request, "admin/simple_form.html", context)

    def revoke_view(self, request: HttpRequest, token_id: UUID) -> HttpResponse:
        """End a token at once."""
        return require_POST(self._revoke)(request, token_id)

    def _revoke(self, request: HttpRequest, token_id: UUID) -> HttpResponse:
        if not request.user.has_perm("vehicles.change_enrolmenttoken"):
            raise PermissionDenied
        token = EnrolmentToken.objects.filter(pk=token_id).first()
        if token is None:
            raise Http404
        if revoke_enrolment_token(token, actor=user_actor(request.user)):
            messages.success(request, f"The enrolment token {token} is revoked. No vehicle can come with it from now on.")
        else:
            messages.warning(request, f"The enrolment token {token} was revoked before.")
        return HttpResponseRedirect(reverse("admin:vehicles_enrolmenttoken_changelist"))


@admin.register(Preapproval)
class PreapprovalAdmin(BoundedLookups):
    """VINs that are expected: each becomes an active vehicle when it enrols, and leaves this list then."""

    form = PreapprovalForm
    list_display = ("vin", "name_column", "fleet", "platform", "approved")
    list_select_related = ("fleet", "platform")
    list_filter = ("fleet", "platform")
    search_fields = ("vin", "name")
    search_help_text = "Part of a VIN or name"
    show_full_result_count = False
    fields = ("vin", "name", "fleet", "platform")
    empty_value_display = NOTHING
    change_list_template = "admin/vehicles/preapproval/change_list.html"

    @admin.display(description="Name", ordering="name")
    def name_column(self, approval: Preapproval) -> str:
        """What people call it."""
        return visible(approval.name) or NOTHING

    @admin.display(description="Approved (UTC)", ordering="created_at")
    def approved(self, approval: Preapproval) -> str:
        """When and by whom."""
        return f"{utc(approval.created_at)[:16]} by {visible(approval.approved_by.removeprefix('user:'))}"

    def save_model(self, request: HttpRequest, obj: Preapproval, form: Any, change: bool) -> None:
        """With the name of whoever approves it."""
        obj.approved_by = user_actor(request.user)
        super().save_model(request, obj, form, change)

    def get_urls(self) -> list[URLPattern]:
        """The import."""
        view = self.admin_site.admin_view(self.import_view)
        return [path("import/", view, name="vehicles_preapproval_import"), *super().get_urls()]

    def import_view(self, request: HttpRequest) -> HttpResponse:
        """A table of VINs, taken whole or not at all."""
        if not (self.has_add_permission(request) and self.has_change_permission(request)):
            raise PermissionDenied
        form = VinTableForm(request.POST or None, request.FILES or None)
        wrong: list[str] = []
        if request.method == "POST" and form.is_valid():
            try:
                done = preapprove(form.cleaned_data["file"], actor=user_actor(request.user))
            except BadVinTable as error:
                wrong = [visible(line) for line in error.lines]
                form.add_error("file", "Nothing was taken." if wrong else visible(error.detail))
            else:
                said = [f"{count(done.added)} VINs are expected now"]
                said += [f"{count(done.changed)} were expected before"] if done.changed else []
                said += [f"{count(done.accepted)} waited already and are accepted"] if done.accepted else []
                said += [f"{count(done.active)} are active already"] if done.active else []
                messages.success(request, f"{', '.join(said)}.")
                return HttpResponseRedirect(reverse("admin:vehicles_preapproval_changelist"))
        context = {
            **self.admin_site.each_context(request),
            "title": "Import VINs",
            "form": form,
            "wrong": wrong,
            "opts": self.opts,
            "example": EXAMPLE,
        }
        return TemplateResponse(request, "admin/vehicles/preapproval/import.html", context)
