"""Signal databases in the admin."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import content_disposition_header
from django.utils.safestring import SafeString

from common.display import NOTHING, count, pill, safe_name, utc, visible
from common.errors import ArgusError
from common.lookups import BoundedLookups
from events.actors import user_actor
from vehicles.admin.parts import link
from vehicles.forms import DatabaseForm, DatabaseUseForm
from vehicles.models import SignalDatabase
from vehicles.signal_databases import Binding, add_signal_database

WARNINGS_IN_MESSAGE = 3


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
