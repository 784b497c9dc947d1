"""API tokens in the admin."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from common.display import age, utc, visible
from events.actors import user_actor
from vehicles.admin.parts import shown_once, token_state
from vehicles.forms import TokenForm
from vehicles.models import ApiToken
from vehicles.tokens import make_token, revoke_token


@admin.register(ApiToken)
class ApiTokenAdmin(admin.ModelAdmin):
    """Keys to the API. A secret is shown once; here stands only who may do what until when."""

    list_display = ("key_column", "owner", "label", "scopes_column", "state_column", "used")
    list_select_related = ("vehicle",)
    search_fields = ("key_id", "label")
    search_help_text = "Key id or label"
    fields = ("key_column", "owner", "label", "scopes_column", "expires_at", "state_column", "made", "used")
    readonly_fields = ("key_column", "owner", "scopes_column", "state_column", "made", "used")
    change_form_template = "admin/vehicles/apitoken/page.html"
    actions = None

    def has_delete_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        """Tokens are revoked, and stay for the record."""
        return False

    @admin.display(description="Key")
    def key_column(self, token: ApiToken) -> SafeString:
        """The part that may be known."""
        return format_html('<span class="mono">{}</span>', str(token))

    @admin.display(description="Of")
    def owner(self, token: ApiToken) -> str:
        """The vehicle, or an integration."""
        return visible(token.vehicle) if token.vehicle else "integration"

    @admin.display(description="May")
    def scopes_column(self, token: ApiToken) -> str:
        """Scopes."""
        return ", ".join(str(scope) for scope in token.scopes)

    @admin.display(description="State")
    def state_column(self, token: ApiToken) -> SafeString:
        """Live, expired or revoked."""
        return token_state(token)

    @admin.display(description="Made (UTC)")
    def made(self, token: ApiToken) -> str:
        """When."""
        return utc(token.created_at)

    @admin.display(description="Last used")
    def used(self, token: ApiToken) -> str:
        """How long ago."""
        return f"{age(token.last_used_at)} ago" if token.last_used_at else "never"

    def get_urls(self) -> list[URLPattern]:
        """Revoking."""
        return [
            path("<uuid:token_id>/revoke/", self.admin_site.admin_view(self.revoke_view), name="vehicles_apitoken_revoke"),
            *super().get_urls(),
        ]

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Make a token of an integration and show it, this once."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = TokenForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            token, text = make_token(None, form.cleaned_data["scopes"], label=form.cleaned_data["label"], actor=user_actor(request.user))
            return shown_once(self, request, token, text, None)
        context = {
            **self.admin_site.each_context(request),
            "title": "Make a token for an integration",
            "form": form,
            "opts": self.opts,
            "button": "Make token",
        }
        return TemplateResponse(request, "admin/simple_form.html", context)

    def revoke_view(self, request: HttpRequest, token_id: UUID) -> HttpResponse:
        """End a token at once."""
        return require_POST(self._revoke)(request, token_id)

    def _revoke(self, request: HttpRequest, token_id: UUID) -> HttpResponse:
        if not request.user.has_perm("vehicles.change_apitoken"):
            raise PermissionDenied
        token = ApiToken.objects.filter(pk=token_id).first()
        if token is None:
            raise Http404
        if revoke_token(token, actor=user_actor(request.user)):
            messages.success(request, f"The token {token} is revoked. Requests with it are refused from now on.")
        else:
            messages.warning(request, f"The token {token} was revoked before.")
        if token.vehicle_id:
            return HttpResponseRedirect(reverse("admin:vehicles_vehicle_change", args=[token.vehicle_id]))
        return HttpResponseRedirect(reverse("admin:vehicles_apitoken_changelist"))
