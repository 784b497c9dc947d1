

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('batches', '0002_list_indexes'),
        ('events', '0001_initial'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='event',
            index=models.Index(fields=['-created_at', '-id'], name='event_newest'),
        ),
    ]
