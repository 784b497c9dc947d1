"""The site's settings on a private folder: the suite never touches the data of a running Argus."""

import os
import tempfile

# Workers of one run share the folder: the first process of the run makes it, the others inherit its name.
os.environ.setdefault("ARGUS_TEST_DIR", tempfile.mkdtemp(prefix="argus-test-"))
os.environ["ARGUS_DATA_DIR"] = os.environ["ARGUS_TEST_DIR"]

from argus_site.settings import *  # noqa: F403
from argus_site.settings import DATABASES, STORAGES

STORAGES = {**STORAGES, "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ALLOWED_HOSTS = ["*"]
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # A file and not memory: threads and worker processes open the same database.
    DATABASES["default"]["TEST"] = {"NAME": os.path.join(os.environ["ARGUS_TEST_DIR"], "test.sqlite3")}
