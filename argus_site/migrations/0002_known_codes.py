"""Who may see and change what is known of fault codes."""

from django.apps.registry import Apps
from django.contrib.auth.management import create_permissions
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

GROUPS = {
    "support": ["view_knowncode"],
    "ops": ["view_knowncode", "add_knowncode", "change_knowncode", "delete_knowncode"],
}


def add_permissions(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """As for the first groups: permissions are made after migrate otherwise."""
    config = apps.get_app_config("diagnosis")
    config.models_module = True
    create_permissions(config, apps=apps, verbosity=0)
    config.models_module = None
    groups, permissions = apps.get_model("auth", "Group").objects, apps.get_model("auth", "Permission").objects
    for name, codenames in GROUPS.items():
        for group in groups.filter(name=name):
            group.permissions.add(*permissions.filter(content_type__app_label="diagnosis", codename__in=codenames))


class Migration(migrations.Migration):
    dependencies = [("argus_site", "0001_groups"), ("diagnosis", "0003_known_code")]
    operations = [migrations.RunPython(add_permissions, migrations.RunPython.noop)]
