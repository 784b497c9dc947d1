

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('batches', '0002_list_indexes'),
        ('diagnosis', '0001_initial'),
        ('files', '0002_list_indexes'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='finding',
            index=models.Index(fields=['-created_at', '-id'], name='finding_newest'),
        ),
        migrations.AddIndex(
            model_name='finding',
            index=models.Index(fields=['severity', '-created_at', '-id'], name='finding_severity_newest'),
        ),
    ]
