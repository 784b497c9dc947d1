"""Who lets vehicles in, and who makes the tokens that they announce themselves with."""

from django.apps.registry import Apps
from django.contrib.auth.management import create_permissions
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

OPS = [
    "accept_vehicle",
    "view_enrolmenttoken",
    "add_enrolmenttoken",
    "change_enrolmenttoken",
    "view_preapproval",
    "add_preapproval",
    "change_preapproval",
    "delete_preapproval",
]


def add_permissions(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """As for the first groups: permissions are made after migrate otherwise."""
    config = apps.get_app_config("vehicles")
    config.models_module = True
    create_permissions(config, apps=apps, verbosity=0)
    config.models_module = None
    permissions = apps.get_model("auth", "Permission").objects.filter(content_type__app_label="vehicles", codename__in=OPS)
    for group in apps.get_model("auth", "Group").objects.filter(name="ops"):
        group.permissions.add(*permissions)


class Migration(migrations.Migration):
    dependencies = [("argus_site", "0002_known_codes"), ("vehicles", "0003_enrolment")]
    operations = [migrations.RunPython(add_permissions, migrations.RunPython.noop)]
