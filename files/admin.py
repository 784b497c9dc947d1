"""Files in the admin: a read-only list across batches, a page per file, and the download of what was stored."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import structlog
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from common.display import age, pill, safe_name, size, utc, visible
from common.errors import ArgusError
from common.records import BatchFilter, GivenFilter, RecordAdmin
from events.actors import user_actor
from files import storage
from files.models import File, FileState

log = structlog.get_logger("argus.download")

DOWNLOAD = "batches.download_file"
KINDS = {FileState.COMPLETED: "ok", FileState.FAILED: "error", FileState.PENDING: "quiet"}
STREAM_BLOCK = 1 << 18


class FileStateFilter(admin.SimpleListFilter):
    """The state; superseded files are left out unless asked for."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The states, and what retries have replaced."""
        return [*((state.value, state.label) for state in FileState), ("partial", "Read in part"), ("superseded", "Replaced by a retry")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[File]) -> QuerySet[File]:
        """Current files only, but for `superseded`."""
        value = self.value()
        if value == "superseded":
            return queryset.filter(superseded_by__isnull=False)
        queryset = queryset.filter(superseded_by__isnull=True)
        if value == "partial":
            return queryset.filter(partial=True)
        if value and value not in FileState.values:
            return queryset.none()
        return queryset.filter(state=value) if value else queryset


class CauseFilter(GivenFilter):
    title = "error code"
    parameter_name = "code"

    def queryset(self, request: HttpRequest, queryset: QuerySet[File]) -> QuerySet[File]:
        """Failed files with this code."""
        code = self.value()
        if code and not code.isprintable():
            return queryset.none()  # PostgreSQL refuses NUL in a text
        return queryset.filter(state=FileState.FAILED, error_code=code) if code else queryset


@admin.register(File)
class FileAdmin(RecordAdmin):
    """Nothing here changes a file."""

    list_display = ("state_column", "name_column", "batch_column", "format", "size_column", "what", "received")
    list_filter = (FileStateFilter, CauseFilter, BatchFilter)
    list_title = "Files"

    def get_queryset(self, request: HttpRequest) -> QuerySet[File]:
        """With the vehicle of the batch, without the facts."""
        return File.objects.select_related("batch__vehicle").defer(
            "facts", "databases", "batch__manifest", "batch__software", "batch__clock"
        )

    @admin.display(description="State")
    def state_column(self, file: File) -> SafeString:
        """Pill; "in part" for a damaged file that was read as far as it goes."""
        return format_html(
            "{} {}", pill(str(file.state), KINDS.get(FileState(file.state), "running")), pill("in part", "warning") if file.partial else ""
        )

    @admin.display(description="File")
    def name_column(self, file: File) -> str:
        """Name as the vehicle gave it, invisible characters escaped."""
        return visible(file.name)

    @admin.display(description="Batch")
    def batch_column(self, file: File) -> SafeString:
        """Link to the batch, with its vehicle."""
        address = reverse("admin:batches_batch_change", args=[file.batch_id])
        return format_html(
            '<a href="{}">{}</a><br><span class="quiet mono">{}</span>', address, visible(file.batch.vehicle), str(file.batch_id)[:8]
        )

    @admin.display(description="Size")
    def size_column(self, file: File) -> str:
        """Stored bytes."""
        return size(file.size)

    @admin.display(description="Outcome")
    def what(self, file: File) -> SafeString:
        """Why it failed."""
        if not file.error_code:
            return SafeString("")
        same = f"{reverse('admin:files_file_changelist')}?{urlencode({'code': file.error_code})}"
        return format_html('{}<br><a class="mono" href="{}">{}</a>', visible(file.error)[:200], same, file.error_code)

    @admin.display(description="Received (UTC)")
    def received(self, file: File) -> str:
        """When it was stored."""
        return utc(file.created_at)[:16]

    def get_urls(self) -> list[URLPattern]:
        """The download."""
        route = path("<uuid:file_id>/download/", self.admin_site.admin_view(self.download_view), name="files_file_download")
        return [route, *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page of a file."""
        return require_safe(self._page)(request, object_id)

    def _page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            file = File.objects.select_related("batch__vehicle", "superseded_by", "duplicate_of").filter(pk=UUID(object_id)).first()
        except ValueError:
            file = None
        if file is None:
            raise Http404
        context = {
            **self.admin_site.each_context(request),
            "title": visible(file.name),
            "opts": self.opts,
            "file": file,
            "state": self.state_column(file),
            "tries": list(File.objects.filter(batch=file.batch_id, storage_key=file.storage_key).order_by("created_at", "pk")),
            "facts": json.dumps(file.facts, indent=2, ensure_ascii=False)[:20_000] if file.facts else "",
            "ago": age(file.created_at),
            "may_download": request.user.has_perm(DOWNLOAD),
        }
        return TemplateResponse(request, "admin/files/file/page.html", context)

    def download_view(self, request: HttpRequest, file_id: UUID) -> HttpResponseBase:
        """The stored bytes, streamed, as an attachment that no browser renders."""
        return require_safe(self._download)(request, file_id)

    def _download(self, request: HttpRequest, file_id: UUID) -> HttpResponseBase:
        if not request.user.has_perm(DOWNLOAD):
            raise PermissionDenied
        file = File.objects.filter(pk=file_id).first()
        if file is None:
            raise Http404
        try:
            content = storage.open_file(file.storage_key)
        except ArgusError as error:
            return HttpResponse(error.detail, status=error.status, content_type="text/plain; charset=utf-8")
        log.info("file downloaded", file=str(file.pk), batch=str(file.batch_id), actor=user_actor(request.user))
        response = FileResponse(content, as_attachment=True, filename=safe_name(file.name), content_type="application/octet-stream")
        response.block_size = STREAM_BLOCK
        response["Content-Length"] = str(file.size)
        response["X-Content-Type-Options"] = "nosniff"
        return response
