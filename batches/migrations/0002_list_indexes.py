

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('batches', '0001_initial'),
        ('vehicles', '0001_initial'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='batch',
            index=models.Index(condition=models.Q(('failed_files__gt', 0), ('state', 'completed')), fields=['-created_at', '-id'], name='batch_issues_newest'),
        ),
        migrations.AddIndex(
            model_name='batch',
            index=models.Index(condition=models.Q(('clock_flags', []), _negated=True), fields=['-created_at', '-id'], name='batch_clock_newest'),
        ),
    ]
