"""Vehicles, fleets, platforms, tokens and signal databases in the admin."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Prefetch, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.http import content_disposition_header
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from common.display import NOTHING, age, count, pill, safe_name, utc, visible
from common.errors import ArgusError
from common.lookups import BoundedLookups
from events.actors import user_actor
from vehicles.forms import DatabaseForm, DatabaseUseForm, TokenForm, VehicleForm
from vehicles.models import VEHICLE_SCOPES, ApiToken, Fleet, Platform, SignalDatabase, Vehicle
from vehicles.signal_databases import Binding, add_signal_database
from vehicles.tokens import make_token, revoke_token
from vehicles.vin import vin_warning

BATCHES_SHOWN = 20
WARNINGS_IN_MESSAGE = 3
LONGEST_LABEL = 100


def link(name: str, text: object, *args: Any, query: str = "") -> SafeString:
    """A link to an admin page."""
    return format_html('<a href="{}{}">{}</a>', reverse(f"admin:{name}", args=args), query, text)


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


@admin.register(Vehicle)
class VehicleAdmin(BoundedLookups):
    """A vehicle with its tokens and its batches."""

    form = VehicleForm
    list_display = ("name_column", "vin", "platform", "fleet", "contact_column")
    list_filter = ("platform", "fleet")
    list_select_related = ("platform", "fleet")
    list_per_page = 100
    search_fields = ("vin", "name")
    search_help_text = "Part of a VIN or name"
    show_full_result_count = False
    fields = ("vin", "name", "platform", "fleet")
    change_form_template = "admin/vehicles/vehicle/page.html"

    def has_delete_permission(self, request: HttpRequest, obj: Vehicle | None = None) -> bool:
        """Only superusers, and only vehicles without batches (the database protects the others)."""
        return bool(request.user.is_superuser)

    @admin.display(description="Vehicle", ordering="name")
    def name_column(self, vehicle: Vehicle) -> str:
        """Name, or the VIN's tail."""
        return visible(vehicle)

    @admin.display(description="Last contact", ordering="last_contact_at")
    def contact_column(self, vehicle: Vehicle) -> str:
        """How long ago."""
        return f"{age(vehicle.last_contact_at)} ago" if vehicle.last_contact_at else "never"

    def save_model(self, request: HttpRequest, obj: Vehicle, form: Any, change: bool) -> None:
        """A wrong check digit is said, not refused: only North America prescribes it."""
        super().save_model(request, obj, form, change)
        if warning := vin_warning(obj.vin):
            messages.warning(request, warning)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """With tokens and the newest batches. Batches are reached through the relation: imports go down."""
        vehicle = self.get_object(request, object_id)
        more: dict[str, Any] = {}
        if isinstance(vehicle, Vehicle):
            batches: Any = (
                vehicle.batches.order_by("-created_at", "-pk").defer("manifest", "software", "clock")
                if request.user.has_perm("batches.view_batch")
                else None
            )
            more = {
                "vehicle": vehicle,
                "vin_warning": vin_warning(vehicle.vin),
                "batches": list(batches[:BATCHES_SHOWN]) if batches is not None else None,
                "tokens": list(vehicle.tokens.all()) if request.user.has_perm("vehicles.view_apitoken") else None,
                "may_make": request.user.has_perm("vehicles.add_apitoken"),
                "may_revoke": request.user.has_perm("vehicles.change_apitoken"),
            }
        return super().change_view(request, object_id, form_url, {**more, **(extra_context or {})})

    def get_urls(self) -> list[URLPattern]:
        """Making a token."""
        return [
            path("<uuid:vehicle_id>/token/", self.admin_site.admin_view(self.token_view), name="vehicles_vehicle_token"),
            *super().get_urls(),
        ]

    def token_view(self, request: HttpRequest, vehicle_id: UUID) -> HttpResponse:
        """Make a token of this vehicle and show it, this once."""
        return require_POST(self._token)(request, vehicle_id)

    def _token(self, request: HttpRequest, vehicle_id: UUID) -> HttpResponse:
        if not request.user.has_perm("vehicles.add_apitoken"):
            raise PermissionDenied
        vehicle = Vehicle.objects.filter(pk=vehicle_id).first()
        if vehicle is None:
            raise Http404
        try:
            token, text = make_token(
                vehicle, VEHICLE_SCOPES, label=request.POST.get("label", "")[:LONGEST_LABEL], actor=user_actor(request.user)
            )
        except ArgusError as error:
            messages.error(request, error.advice)
            return HttpResponseRedirect(reverse("admin:vehicles_vehicle_change", args=[vehicle_id]))
        return shown_once(self, request, token, text, vehicle)


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


@admin.register(SignalDatabase)
class SignalDatabaseAdmin(BoundedLookups):
    """Signal databases, per platform and version. A new version is an upload; an old one is never changed."""

    form = DatabaseUseForm
    list_display = (
        "__str__",
        "platform",
        "active",
        "channel_column",
        "software_column",
        "messages_column",
        "signals_column",
        "warnings_count",
        "uploaded",
    )
    list_filter = ("active", "platform")
    list_select_related = ("platform",)
    search_fields = ("name",)
    fields = (
        "platform",
        "name",
        "version",
        "active",
        "channel_column",
        "software_column",
        "messages_column",
        "signals_column",
        "warnings_list",
        "sha256",
        "uploaded",
        "download",
    )
    readonly_fields = tuple(name for name in fields if name != "active")
    actions = None

    def has_delete_permission(self, request: HttpRequest, obj: SignalDatabase | None = None) -> bool:
        """Results name the version that they were decoded with."""
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[SignalDatabase]:
        """Without the files themselves."""
        return super().get_queryset(request).defer("content", "compiled", "signature")

    @admin.display(description="Software")
    def software_column(self, database: SignalDatabase) -> str:
        """Empty means every one."""
        return visible(database.binding) or "every one"

    @admin.display(description="Bus")
    def channel_column(self, database: SignalDatabase) -> str:
        """Empty means every bus."""
        return visible(database.channel) or "every bus"

    @admin.display(description="Messages")
    def messages_column(self, database: SignalDatabase) -> str:
        """How many."""
        return count(database.message_count)

    @admin.display(description="Signals")
    def signals_column(self, database: SignalDatabase) -> str:
        """How many."""
        return count(database.signal_count)

    @admin.display(description="Warnings")
    def warnings_count(self, database: SignalDatabase) -> SafeString | str:
        """How many."""
        return pill(str(len(database.warnings)), "warning") if database.warnings else NOTHING

    @admin.display(description="Warnings")
    def warnings_list(self, database: SignalDatabase) -> SafeString | str:
        """What the reader tolerated."""
        if not database.warnings:
            return "none"
        return format_html(
            '<ul class="plain">{}</ul>', format_html_join("", "<li>{}</li>", ((visible(text),) for text in database.warnings))
        )

    @admin.display(description="Uploaded (UTC)")
    def uploaded(self, database: SignalDatabase) -> str:
        """When and by whom."""
        return f"{utc(database.created_at)} by {database.uploaded_by.removeprefix('user:')}"

    @admin.display(description="File")
    def download(self, database: SignalDatabase) -> SafeString:
        """As it was uploaded."""
        return link("vehicles_signaldatabase_download", "Download the file", database.pk)

    def get_urls(self) -> list[URLPattern]:
        """The download."""
        route = path(
            "<uuid:database_id>/download/", self.admin_site.admin_view(self.download_view), name="vehicles_signaldatabase_download"
        )
        return [route, *super().get_urls()]

    def download_view(self, request: HttpRequest, database_id: UUID) -> HttpResponse:
        """The file as it was uploaded."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        database = SignalDatabase.objects.defer("compiled", "signature").filter(pk=database_id).first()
        if database is None:
            raise Http404
        response = HttpResponse(bytes(database.content), content_type="application/octet-stream")
        response["Content-Disposition"] = content_disposition_header(
            True, safe_name(f"{database.name}-v{database.version}.{database.kind}")
        )
        return response

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Upload a signal database; what the reader tolerated is said at once."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = DatabaseForm(request.POST or None, request.FILES or None, initial={"platform": request.GET.get("platform")})
        if request.method == "POST" and form.is_valid():
            given = form.cleaned_data
            try:
                database = add_signal_database(
                    given["platform"],
                    given["name"],
                    given["file"].read(),
                    binding=Binding(given["channel"], given["software"], given["software_from"], given["software_before"]),
                    actor=user_actor(request.user),
                )
            except ArgusError as error:
                form.add_error("file", error.detail)
            else:
                self._tell(request, database)
                return HttpResponseRedirect(reverse("admin:vehicles_signaldatabase_change", args=[database.pk]))
        context = {
            **self.admin_site.each_context(request),
            "title": "Upload a signal database",
            "form": form,
            "opts": self.opts,
            "button": "Upload",
            "hint": "It decodes what is uploaded from now on. For older batches use “Parse everything again” on their pages.",
        }
        return TemplateResponse(request, "admin/simple_form.html", context)

    def _tell(self, request: HttpRequest, database: SignalDatabase) -> None:
        contents = f"{count(database.signal_count)} signals in {count(database.message_count)} messages"
        messages.success(request, f"The signal database {visible(database)} is in use from now on: {contents}.")
        for text in database.warnings[:WARNINGS_IN_MESSAGE]:
            messages.warning(request, visible(text))
        more = len(database.warnings) - WARNINGS_IN_MESSAGE
        if more > 0:
            messages.warning(request, f"{more} more warnings stand below.")


def token_state(token: ApiToken) -> SafeString:
    """Live, expired or revoked."""
    if token.revoked_at:
        return pill("revoked", "quiet")
    if token.expires_at and token.expires_at <= timezone.now():
        return pill("expired", "warning")
    return pill("live", "ok")


def shown_once(page: admin.ModelAdmin, request: HttpRequest, token: ApiToken, text: str, vehicle: Vehicle | None) -> HttpResponse:
    """The page with the secret: the answer to the POST itself, kept by nobody."""
    context = {
        **page.admin_site.each_context(request),
        "title": "The new token",
        "token": token,
        "text": text,
        "vehicle": vehicle,
        "opts": page.opts,
        "base": f"{request.scheme}://{request.get_host()}",
    }
    response = TemplateResponse(request, "admin/vehicles/apitoken/shown_once.html", context)
    response["Cache-Control"] = "no-store"
    return response
