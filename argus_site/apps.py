"""App configuration: registers the system checks."""

from django.apps import AppConfig


class SiteConfig(AppConfig):
    name = "argus_site"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Importing the module registers its checks."""
        import common.checks  # noqa: F401
