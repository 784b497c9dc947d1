"""The admin site: plain Django admin under our own name and theme."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.admin.apps import AdminConfig


class ArgusAdminSite(admin.AdminSite):
    """Where support and ops work."""

    site_header = "Argus"
    site_title = "Argus"
    index_title = "Fleet"
    site_url = None


class ArgusAdminConfig(AdminConfig):
    default_site = "argus_site.admin_site.ArgusAdminSite"
