"""The groups of people: support looks and comments, ops also runs things again."""

from django.apps.registry import Apps
from django.contrib.auth.management import create_permissions
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

VIEW = [
    ("batches", ["view_batch", "view_note", "comment_batch", "download_file"]),
    ("files", ["view_file"]),
    ("diagnosis", ["view_finding", "view_signallimit"]),
    ("events", ["view_event"]),
    ("vehicles", ["view_vehicle", "view_fleet", "view_platform", "view_signaldatabase"]),
]
GROUPS = {
    "support": VIEW,
    "ops": [
        *VIEW,
        ("batches", ["retrigger_batch", "cancel_batch"]),
        ("diagnosis", ["add_signallimit", "change_signallimit", "delete_signallimit"]),
        ("vehicles", ["add_vehicle", "change_vehicle", "add_fleet", "change_fleet", "add_platform", "change_platform"]),
        ("vehicles", ["add_signaldatabase", "change_signaldatabase", "view_apitoken", "add_apitoken", "change_apitoken"]),
    ],
}


def make_groups(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Permissions are made after migrate otherwise; the groups need them now."""
    for label in ("batches", "files", "diagnosis", "events", "vehicles"):
        config = apps.get_app_config(label)
        config.models_module = True
        create_permissions(config, apps=apps, verbosity=0)
        config.models_module = None
    group_model, permission_model = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    for name, rights in GROUPS.items():
        group, _ = group_model.objects.get_or_create(name=name)
        for label, codenames in rights:
            group.permissions.add(*permission_model.objects.filter(content_type__app_label=label, codename__in=codenames))


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("batches", "0001_initial"),
        ("files", "0001_initial"),
        ("diagnosis", "0001_initial"),
        ("events", "0001_initial"),
        ("vehicles", "0001_initial"),
    ]
    operations = [migrations.RunPython(make_groups, migrations.RunPython.noop)]
