"""All settings, from the environment (`.env.example` lists them); a wrong value stops the start."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import secrets
import tempfile
from pathlib import Path
from typing import Any

import dj_database_url
import structlog
from botocore.config import Config
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from environs import Env, validate

BASE_DIR = Path(__file__).resolve().parent.parent
env = Env()
env.read_env(BASE_DIR / ".env")

# -- where things are ------------------------------------------------------------------------------------------------

DATA_DIR = Path(env.str("ARGUS_DATA_DIR", str(BASE_DIR / "var")))
DATA_DIR.mkdir(parents=True, exist_ok=True)


def _secret_key() -> str:
    """The key from the environment, or one made once and kept beside the data, readable by its owner only."""
    if given := env.str("ARGUS_SECRET_KEY", ""):
        return given
    path = DATA_DIR / "secret-key"
    if not path.exists():
        # Two processes may start at once: each writes its own file, the first link wins, both read the winner.
        with tempfile.NamedTemporaryFile("w", dir=DATA_DIR, prefix=".key-") as draft:
            draft.write(secrets.token_urlsafe(64))
            draft.flush()
            with contextlib.suppress(FileExistsError):
                os.link(draft.name, path)
    return path.read_text()


SECRET_KEY = _secret_key()
DEBUG = env.bool("ARGUS_DEBUG", False)
ALLOWED_HOSTS = env.list("ARGUS_ALLOWED_HOSTS", ["127.0.0.1", "localhost", "[::1]"])
CSRF_TRUSTED_ORIGINS: list[str] = env.list("ARGUS_CSRF_TRUSTED_ORIGINS", [])
HTTPS = env.bool("ARGUS_HTTPS", False)

# -- applications ----------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "argus_site.apps.SiteConfig",
    "argus_site.admin_site.ArgusAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "csp",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_fsm",
    "django_q",
    "events",
    "vehicles",
    "files",
    "diagnosis",
    "batches",
]

MIDDLEWARE = [
    "argus_site.middleware.RequestLogMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "argus_site.urls"
WSGI_APPLICATION = "argus_site.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# -- database --------------------------------------------------------------------------------------------------------

CONN_MAX_AGE = 60


def _synchronous() -> str:
    """SQLite itself takes any word, and an unknown one for less safety than was meant."""
    return env.str("ARGUS_SQLITE_SYNCHRONOUS", "NORMAL", validate=validate.OneOf(["NORMAL", "FULL", "EXTRA"]))


def _database() -> dict[str, Any]:
    """PostgreSQL or SQLite by DATABASE_URL; SQLite beside the data without one."""
    url = env.str("DATABASE_URL", f"sqlite:///{DATA_DIR / 'argus.sqlite3'}")
    database: dict[str, Any] = {**dj_database_url.parse(url, conn_max_age=CONN_MAX_AGE)}
    if database["ENGINE"].endswith("sqlite3"):
        # IMMEDIATE takes the write lock at BEGIN: it stands in for SELECT FOR UPDATE, which SQLite ignores.
        # WAL lets readers go on meanwhile; 20 s is what a writer waits for another.
        database["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=" + _synchronous(),
        }
    return database


DATABASES = {"default": _database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# -- queue -----------------------------------------------------------------------------------------------------------

PARSE_SECONDS = env.int("ARGUS_PARSE_SECONDS", 780, validate=validate.Range(min=10))
WORKERS = env.int("ARGUS_WORKERS", 2, validate=validate.Range(min=1, max=256))
Q_CLUSTER = {
    "name": "argus",
    "orm": "default",
    "workers": WORKERS,
    "queue_limit": WORKERS,
    "bulk": 1,
    "timeout": PARSE_SECONDS + 120,
    # common.checks refuses a shorter one: django-q2 would deliver a prefetched task twice.
    "retry": env.int("ARGUS_QUEUE_RETRY", (PARSE_SECONDS + 120) * 4),
    "max_attempts": 1,
    "ack_failures": True,
    "save_limit": -1,
    "recycle": 100,
    "poll": 0.2,
    "catch_up": False,
    "log_level": "WARNING",
    "label": "Queue",
}

# -- storage ---------------------------------------------------------------------------------------------------------


def _storage() -> dict[str, Any]:
    """Local files, or any S3-compatible store."""
    if env.str("ARGUS_STORAGE", "local", validate=validate.OneOf(["local", "s3"])) == "local":
        return {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": env.str("ARGUS_STORAGE_DIR", str(DATA_DIR / "storage")), "base_url": None},
        }
    from boto3.s3.transfer import TransferConfig

    checksums = env.str("ARGUS_S3_CHECKSUMS", "when_required", validate=validate.OneOf(["when_required", "when_supported"]))
    part = ARGUS_S3_PART_BYTES
    return {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": env.str("ARGUS_S3_BUCKET"),
            "endpoint_url": env.str("ARGUS_S3_ENDPOINT", "") or None,
            "region_name": env.str("ARGUS_S3_REGION", "us-east-1"),
            "access_key": env.str("ARGUS_S3_ACCESS_KEY", "") or None,
            "secret_key": env.str("ARGUS_S3_SECRET_KEY", "") or None,
            "location": env.str("ARGUS_S3_PREFIX", "").strip("/"),
            "file_overwrite": False,
            "default_acl": None,
            "querystring_expire": 300,
            "max_memory_size": 8 * 2**20,
            # One Config for everything: with client_config, django-storages ignores its own addressing and signature options.
            "client_config": Config(
                s3={"addressing_style": env.str("ARGUS_S3_ADDRESSING", "path", validate=validate.OneOf(["path", "virtual", "auto"]))},
                signature_version="s3v4",
                request_checksum_calculation=checksums,
                response_checksum_validation=checksums,
                retries={"mode": "standard", "total_max_attempts": env.int("ARGUS_S3_ATTEMPTS", 5, validate=validate.Range(min=1, max=20))},
                connect_timeout=env.float("ARGUS_S3_CONNECT_SECONDS", 5, validate=validate.Range(min=0.1)),
                read_timeout=env.float("ARGUS_S3_READ_SECONDS", 60, validate=validate.Range(min=1)),
                max_pool_connections=env.int("ARGUS_S3_CONNECTIONS", 64, validate=validate.Range(min=1)),
            ),
            "transfer_config": TransferConfig(multipart_threshold=part, multipart_chunksize=part, max_concurrency=4),
        },
    }


# The least that S3 takes for a part is 5 MiB; larger files get larger parts than this, because there may be 10,000 of them.
ARGUS_S3_PART_BYTES = env.int("ARGUS_S3_PART_BYTES", 16 * 2**20, validate=validate.Range(min=5 * 2**20, max=2**30))
# Where vehicles reach the store, in the addresses that are signed for them; as the server does when empty.
ARGUS_S3_PUBLIC_ENDPOINT = env.str("ARGUS_S3_PUBLIC_ENDPOINT", "")
ARGUS_S3_URL_SECONDS = env.int("ARGUS_S3_URL_SECONDS", 3600, validate=validate.Range(min=60, max=7 * 24 * 3600))
STORAGES = {
    "default": _storage(),
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
STATIC_URL = "/static/"
STATIC_ROOT = env.str("ARGUS_STATIC_DIR", str(DATA_DIR / "static"))
STATICFILES_DIRS = [BASE_DIR / "static"]

# -- limits of what vehicles send -----------------------------------------------------------------------------------

ARGUS_MAX_FILE_BYTES = env.int("ARGUS_MAX_FILE_BYTES", 10 * 10**9)
ARGUS_MAX_MULTIPART_BYTES = env.int("ARGUS_MAX_MULTIPART_BYTES", 256 * 2**20)
ARGUS_MAX_FILES_PER_BATCH = env.int("ARGUS_MAX_FILES_PER_BATCH", 50_000)
# A batch that is neither completed nor sent anything for so long is abandoned.
ARGUS_BATCH_DEADLINE_DAYS = env.int("ARGUS_BATCH_DEADLINE_DAYS", 30, validate=validate.Range(min=1))
ARGUS_DISK_RESERVE_BYTES = env.int("ARGUS_DISK_RESERVE_BYTES", 500 * 10**6)
# Of each web process: more uploads than this at once are refused, so that the other threads stay free for quick requests.
ARGUS_WEB_PROCESSES = env.int("ARGUS_WEB_PROCESSES", 1, validate=validate.Range(min=1, max=256))
ARGUS_THREADS = env.int("ARGUS_THREADS", 256, validate=validate.Range(min=2))
ARGUS_MAX_UPLOADS = env.int("ARGUS_MAX_UPLOADS", max(1, ARGUS_THREADS * 7 // 8), validate=validate.Range(min=1))
ARGUS_MAX_UPLOADS_PER_VEHICLE = env.int("ARGUS_MAX_UPLOADS_PER_VEHICLE", 16, validate=validate.Range(min=1))
ARGUS_REQUESTS_PER_SECOND = env.float("ARGUS_REQUESTS_PER_SECOND", 100.0, validate=validate.Range(min=0))
ARGUS_REQUEST_BURST = env.int("ARGUS_REQUEST_BURST", 1000, validate=validate.Range(min=1))
ARGUS_DAILY_BYTES = env.int("ARGUS_DAILY_BYTES", 0, validate=validate.Range(min=0))
ARGUS_HEADER_SECONDS = env.int("ARGUS_HEADER_SECONDS", 15, validate=validate.Range(min=1))
ARGUS_SILENCE_SECONDS = env.int("ARGUS_SILENCE_SECONDS", 30, validate=validate.Range(min=1))
ARGUS_MIN_BYTES_PER_SECOND = env.int("ARGUS_MIN_BYTES_PER_SECOND", 1024, validate=validate.Range(min=0))
ARGUS_FAILURE_POLICY = env.str("ARGUS_FAILURE_POLICY", "partial", validate=validate.OneOf(["partial", "strict"]))
DATA_UPLOAD_MAX_MEMORY_SIZE = 20 * 2**20  # a manifest of 50,000 files; file bytes never pass through this

# -- who may send, and from where -------------------------------------------------------------------------------------

ARGUS_ENROLMENTS_PER_MINUTE = env.int("ARGUS_ENROLMENTS_PER_MINUTE", 60, validate=validate.Range(min=1))
ARGUS_REFUSALS_PER_MINUTE = env.int("ARGUS_REFUSALS_PER_MINUTE", 60, validate=validate.Range(min=1))
_PROXIES: list[str] = env.list("ARGUS_TRUSTED_PROXIES", [])
ARGUS_TRUSTED_PROXIES = [ipaddress.ip_network(network.strip()) for network in _PROXIES]
ARGUS_MTLS_HEADER: str = env.str("ARGUS_MTLS_HEADER", "", validate=validate.Regexp(r"[A-Za-z0-9-]*\Z"))
if ARGUS_MTLS_HEADER and not ARGUS_TRUSTED_PROXIES:
    raise ImproperlyConfigured("ARGUS_MTLS_HEADER needs ARGUS_TRUSTED_PROXIES: anybody could send the header otherwise")

# -- leases (seconds) --------------------------------------------------------------------------------------------------

ARGUS_LEASE_SECONDS = env.int("ARGUS_LEASE_SECONDS", 60, validate=validate.Range(min=1))
# common.checks refuses one that is too long for the lease.
ARGUS_HEARTBEAT_SECONDS = env.int("ARGUS_HEARTBEAT_SECONDS", 10, validate=validate.Range(min=1))
ARGUS_STALL_SECONDS = env.int("ARGUS_STALL_SECONDS", 120, validate=validate.Range(min=1))

# -- API -----------------------------------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "vehicles.api.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_THROTTLE_CLASSES": ["batches.api.throttle.ByVehicle"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "EXCEPTION_HANDLER": "argus_site.problems.problem",
    "NUM_PROXIES": env.int("ARGUS_PROXIES", 0),
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Argus",
    "DESCRIPTION": "Vehicles upload recordings in batches; integrations read what came of them.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "PREPROCESSING_HOOKS": ["batches.api.description.with_head"],
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums", "batches.api.description.with_headers"],
}

# -- people --------------------------------------------------------------------------------------------------------------

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "admin:login"
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True

# -- browser safety --------------------------------------------------------------------------------------------------

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
        "object-src": [NONE],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = ["^healthz$"]
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
if env.bool("ARGUS_BEHIND_PROXY", False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# -- logs: one JSON object a line, control characters escaped -------------------------------------------------------

_SHARED_PROCESSORS: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]
structlog.configure(
    processors=[*_SHARED_PROCESSORS, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
    logger_factory=structlog.stdlib.LoggerFactory(),
    cache_logger_on_first_use=True,
)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "json": {
            "()": structlog.stdlib.ProcessorFormatter,
            "foreign_pre_chain": _SHARED_PROCESSORS,
            "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
        }
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"handlers": ["stderr"], "level": env.str("ARGUS_LOG_LEVEL", "INFO")},
    "loggers": {
        "django.request": {"level": "ERROR"},
        "botocore": {"level": "WARNING"},
        "boto3": {"level": "WARNING"},
        "django-q": {"level": "WARNING"},
    },
}
