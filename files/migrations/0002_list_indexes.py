

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('batches', '0002_list_indexes'),
        ('files', '0001_initial'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='file',
            index=models.Index(fields=['-created_at', '-id'], name='file_newest'),
        ),
        migrations.AddIndex(
            model_name='file',
            index=models.Index(condition=models.Q(('state', 'failed')), fields=['error_code', '-created_at', '-id'], name='file_failed_cause'),
        ),
    ]
