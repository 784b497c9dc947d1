"""The site's own settings for processes that a test starts; static files come from the sources."""

from argus_site.settings import *  # noqa: F403
from argus_site.settings import STORAGES

STORAGES = {**STORAGES, "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
WHITENOISE_USE_FINDERS = True
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # as the test that makes the users
