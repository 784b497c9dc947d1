"""The admin site: plain Django admin under our own name and theme, its pages grouped by task."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.apps import AdminConfig
from django.http import HttpRequest
from django.template.response import TemplateResponse

# task -> models (app label, name) in the order of the sidebar
SECTIONS = {
    "Work": (("batches", "Batch"), ("diagnosis", "Finding"), ("files", "File")),
    "Fleet": (("vehicles", "Vehicle"), ("vehicles", "Preapproval"), ("vehicles", "Fleet"), ("vehicles", "Platform")),
    "Decoding and rules": (("vehicles", "SignalDatabase"), ("diagnosis", "SignalLimit"), ("diagnosis", "KnownCode")),
    "Access and audit": (
        ("events", "Event"),
        ("vehicles", "ApiToken"),
        ("vehicles", "EnrolmentToken"),
        ("auth", "User"),
        ("auth", "Group"),
    ),
}
# The queue's rows are signed pickles: whoever could edit one would run code as a worker. Nobody needs them as rows.
HIDDEN_APPS = {"django_q"}


class ArgusAdminSite(admin.AdminSite):
    """Where support and ops work."""

    site_header = "Argus"
    site_title = "Argus"
    index_title = "Overview"
    site_url = None

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Registers what is not hidden."""
        models = model_or_iterable if isinstance(model_or_iterable, (list, tuple)) else [model_or_iterable]
        shown = [model for model in models if model._meta.app_label not in HIDDEN_APPS]
        if shown:
            super().register(shown, admin_class, **options)

    def get_urls(self) -> list[Any]:
        """Django's, without its redirect to pages of objects on the site: no object has one, and it fails on ids that are none."""
        return [url for url in super().get_urls() if getattr(url, "name", None) != "view_on_site"]

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[dict[str, Any]]:
        """All models by task; one app's as Django does."""
        apps = super().get_app_list(request, app_label)
        if app_label is not None:
            return apps
        found = {(app["app_label"], model["object_name"]): model for app in apps for model in app["models"]}
        sections = []
        for name, wanted in SECTIONS.items():
            models = [found.pop(key) for key in wanted if key in found]
            if models:
                sections.append(_section(name, models))
        if found:
            sections.append(_section("Other", list(found.values())))
        return sections

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """The dashboard."""
        from argus_site.dashboard import dashboard

        return super().index(request, {**dashboard(request), **(extra_context or {})})


def _section(name: str, models: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": name,
        "app_label": name.split()[0].lower(),
        "app_url": models[0]["admin_url"] or "",
        "has_module_perms": True,
        "models": models,
    }


class ArgusAdminConfig(AdminConfig):
    default_site = "argus_site.admin_site.ArgusAdminSite"
