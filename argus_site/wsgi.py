"""The WSGI application for gunicorn."""

import gc
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "argus_site.settings")

application = get_wsgi_application()

# What has been loaded by now stays for good. Without this a full collection walks all of it, 100 ms of somebody's request now and then.
gc.collect()
gc.freeze()
