"""Signal databases are bound to software, know their format, and are recognised by the ids of their messages."""

from typing import Any

from django.db import migrations, models


def add_signatures(apps: Any, schema_editor: Any) -> None:
    """From the compiled databases that are there already."""
    from vehicles.recognition import signature

    databases = apps.get_model("vehicles", "SignalDatabase").objects
    for pk in list(databases.values_list("pk", flat=True)):
        kind, entries = signature(bytes(databases.values_list("compiled", flat=True).get(pk=pk)))
        databases.filter(pk=pk).update(kind=kind, signature=entries)


class Migration(migrations.Migration):

    dependencies = [
        ('vehicles', '0001_initial'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='signaldatabase',
            name='database_one_active_per_name',
        ),
        migrations.AddField(
            model_name='signaldatabase',
            name='kind',
            field=models.CharField(default='dbc', editable=False, max_length=8),
        ),
        migrations.AddField(
            model_name='signaldatabase',
            name='signature',
            field=models.JSONField(default=list, editable=False),
        ),
        migrations.AddField(
            model_name='signaldatabase',
            name='software',
            field=models.CharField(blank=True, help_text='only for batches that name this software component; empty for every batch', max_length=100),
        ),
        migrations.AddField(
            model_name='signaldatabase',
            name='software_before',
            field=models.CharField(blank=True, help_text='for versions before this one; empty for every one', max_length=50),
        ),
        migrations.AddField(
            model_name='signaldatabase',
            name='software_from',
            field=models.CharField(blank=True, help_text='from this version of the component on; empty for every one', max_length=50),
        ),
        migrations.RunPython(add_signatures, migrations.RunPython.noop),
        migrations.AddConstraint(
            model_name='signaldatabase',
            constraint=models.UniqueConstraint(condition=models.Q(('active', True)), fields=('platform', 'name', 'software', 'software_from', 'software_before'), name='database_one_active_per_binding'),
        ),
        migrations.AddConstraint(
            model_name='signaldatabase',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('software', ''), _negated=True), models.Q(('software_before', ''), ('software_from', '')), _connector='OR'), name='database_interval_of_a_component'),
        ),
    ]
