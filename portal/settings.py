"""Every setting, by environment variable; `.env.example` lists them. No defaults that are unsafe in production.

`portal/checks.py` refuses to start an installation whose settings do not hold together, and says the fix.
"""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import environ
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from apps.viewer.assets import add_headers, is_immutable
from portal.hosts import own_names

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()
environ.Env.read_env(env.str("PORTAL_ENV_FILE", default=str(BASE_DIR / ".env")))


def secret(name: str) -> str:
    """Return the secret in variable `name`, or in the file that `name`_FILE points to; empty when neither is set."""
    path = env.str(f"{name}_FILE", default="")
    if not path:
        return str(env.str(name, default=""))
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise ImproperlyConfigured(
            f"{name}_FILE cannot be read: {error.strerror}. Point it to a readable file."
        ) from None


# --- where things are -------------------------------------------------------------------------------------------------
DATA_DIR = Path(env.str("PORTAL_DATA_DIR", default=str(BASE_DIR / "var"))).resolve()
HTTPS = env.bool("HTTPS", default=False)  # serve TLS ourselves, with a certificate of our own: phones, demonstrations
BASE_URL = env.str(
    "PORTAL_BASE_URL", default=f"{'https' if HTTPS else 'http'}://127.0.0.1:{env.int('PORT', default=8000)}"
).rstrip("/")
SECURE = BASE_URL.startswith("https://")
# Off: one machine, no servers, keys in DATA_DIR: what `make run` starts. On: portal/checks.py insists on a safe setup.
PRODUCTION = env.bool("PORTAL_PRODUCTION", default=False)
DEBUG = env.bool("PORTAL_DEBUG", default=False)
SECRET_KEY = secret("PORTAL_SECRET_KEY")
SECRET_KEY_FALLBACKS = env.list("PORTAL_SECRET_KEY_FALLBACKS", default=[])
MASTER_KEY = env.str("PORTAL_MASTER_KEY", default="")
MASTER_KEY_FILE = env.str("PORTAL_MASTER_KEY_FILE", default="")
# The ARN of the AWS KMS key that wraps what the file holds; empty: the file holds the key itself.
MASTER_KEY_KMS = env.str("PORTAL_MASTER_KEY_KMS", default="")
# While the master key is being replaced: the file of the old one (see rotate_master_key).
MASTER_KEY_PREVIOUS_FILE = env.str("PORTAL_MASTER_KEY_PREVIOUS_FILE", default="")
if not PRODUCTION:
    # The first `manage.py prepare` of an embedded installation makes both files; they are never made again.
    if not MASTER_KEY:
        MASTER_KEY_FILE = MASTER_KEY_FILE or str(DATA_DIR / "keys" / "master.key")
    secret_file = DATA_DIR / "keys" / "secret.key"
    if not SECRET_KEY and secret_file.exists():
        SECRET_KEY = secret_file.read_text().strip()
if not SECRET_KEY:
    # Commands that need no sessions (prepare, makemigrations) run without one; the checks refuse to serve with it.
    SECRET_KEY = "not-set"  # noqa: S105

# --- the web ----------------------------------------------------------------------------------------------------------
ALLOWED_HOSTS = env.list(
    "PORTAL_ALLOWED_HOSTS",
    default=["127.0.0.1", "localhost", "[::1]", *([name for names in own_names() for name in names] if HTTPS else [])],
)
CSRF_TRUSTED_ORIGINS = [BASE_URL] if SECURE else []
ROOT_URLCONF = "portal.urls"
WSGI_APPLICATION = "portal.wsgi.application"
# How many reverse proxies of ours stand in front; 0 means X-Forwarded-For is never read (ASVS 15.3.4).
TRUSTED_PROXY_COUNT = env.int("PORTAL_TRUSTED_PROXY_COUNT", default=0)
if TRUSTED_PROXY_COUNT:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
APPEND_SLASH = False
# Django admin under another path, and only from these networks (comma-separated CIDR; empty: from everywhere).
ADMIN_PATH = env.str("PORTAL_ADMIN_PATH", default="admin").strip("/")
ADMIN_NETWORKS = [ip_network(network) for network in env.list("PORTAL_ADMIN_NETWORKS", default=[])]
DATA_UPLOAD_MAX_MEMORY_SIZE = 1 << 20
DATA_UPLOAD_MAX_NUMBER_FILES = 1000
FILE_UPLOAD_HANDLERS: list[str] = ["apps.ingest.uploadhandler.DroppingUploadHandler"]
MAX_FILE_BYTES = env.int("PORTAL_MAX_FILE_BYTES", default=2 << 30)
MIN_FREE_BYTES = env.int("PORTAL_MIN_FREE_BYTES", default=1 << 30)  # with less on the disk no uploads are taken (F5)
MAX_ARCHIVE_BYTES = env.int("PORTAL_MAX_ARCHIVE_BYTES", default=16 << 30)  # a ZIP or a disc, and what it expands to

# ClamAV's clamd, `unix:///run/clamav/clamd.ctl` or `tcp://host:3310`; empty: nothing is scanned, and the health page
# says so. The size is the smallest of clamd's StreamMaxLength, MaxFileSize and MaxScanSize.
CLAMAV_URL = env.str("PORTAL_CLAMAV_URL", default="")
CLAMAV_MAX_BYTES = env.int("PORTAL_CLAMAV_MAX_BYTES", default=100 << 20)
CLAMAV_TIMEOUT_SECONDS = env.float("PORTAL_CLAMAV_TIMEOUT_SECONDS", default=60.0)
CLAMAV_MAX_AGE = timedelta(days=env.float("PORTAL_CLAMAV_MAX_AGE_DAYS", default=7.0))

INSTALLED_APPS = [
    "portal.apps.PortalConfig",
    "apps.clinics",
    "apps.audit",
    "apps.keys",
    "apps.jobs",
    "apps.billing",
    "apps.accounts",
    "apps.notices",
    "apps.access",
    "apps.patients",
    "apps.storage",
    "apps.studies",
    "apps.links",
    "apps.exports",
    "apps.backup",
    "apps.deidentification",
    "apps.ingest",
    "apps.sharing",
    "apps.dicomweb",
    "apps.viewer",
    "portal.apps.PortalAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.forms",
    "django.contrib.staticfiles",
    "django_otp",
    "axes",
    "auditlog",
    "csp",
    "storages",
]

MIDDLEWARE = [
    "portal.logs.RequestLogMiddleware",
    "portal.headers.AnswerHeadersMiddleware",
    "apps.accounts.middleware.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "portal.faults.FaultMiddleware",
    "apps.access.middleware.AuditMiddleware",
    "apps.accounts.middleware.PersonSessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "apps.accounts.middleware.SessionTimeoutMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "apps.accounts.middleware.AccessRuleMiddleware",
    "axes.middleware.AxesMiddleware",
]

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
                "apps.accounts.context.navigation",
                "apps.backup.context.proven",
            ],
        },
    }
]
FORM_RENDERER = "django.forms.renderers.TemplatesSetting"

# --- database ---------------------------------------------------------------------------------------------------------
DATABASES: dict[str, dict[str, Any]] = {
    "default": env.db_url("DATABASE_URL", default=f"sqlite:///{DATA_DIR / 'viewbox.sqlite3'}")
}
DATABASE = DATABASES["default"]
if DATABASE["ENGINE"] == "django.db.backends.sqlite3":
    DATABASE["ENGINE"] = "portal.sqlite"
    # WAL with FULL: a commit is on the disk when it returns. IMMEDIATE: a writer waits its turn instead of failing.
    DATABASE["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 30,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-65536;",
    }
    # Reusing a connection saves opening the file and its pragmas on every request.
    DATABASE["CONN_MAX_AGE"] = None
    # Tests run on a file too: SQLite in memory locks whole tables and fails where a file waits.
    DATABASE["TEST"] = {"NAME": str(DATA_DIR / "test.sqlite3")}
else:
    DATABASE["CONN_MAX_AGE"] = env.int("PORTAL_DATABASE_CONN_MAX_AGE", default=60)
    DATABASE["CONN_HEALTH_CHECKS"] = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"


# --- blobs ------------------------------------------------------------------------------------------------------------
def s3_options(prefix: str) -> dict[str, Any]:
    """Return how to reach the S3 service that <prefix>_S3_... name: options of django-storages' S3Storage."""
    return {
        "endpoint_url": env.str(f"{prefix}_S3_ENDPOINT_URL", default=None),
        "region_name": env.str(f"{prefix}_S3_REGION", default="us-east-1"),
        "access_key": secret(f"{prefix}_S3_ACCESS_KEY"),
        "secret_key": secret(f"{prefix}_S3_SECRET_KEY"),
        "addressing_style": env.str(f"{prefix}_S3_ADDRESSING_STYLE", default="path"),
        "file_overwrite": False,
        "default_acl": None,
    }


def blob_storage(prefix: str, folder: str) -> dict[str, Any]:
    """Return the STORAGES entry of a place: the bucket that <prefix>_S3_BUCKET names, or else the folder."""
    bucket = env.str(f"{prefix}_S3_BUCKET", default="")
    if not bucket:
        return {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": folder}}
    return {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": {"bucket_name": bucket, **s3_options(prefix)}}


# Where `rescue_kit s3://bucket/folder --sealed` writes to: PORTAL_KIT_S3_ENDPOINT_URL and what else s3_options reads.
KIT_S3 = s3_options("PORTAL_KIT")


# Further places that each hold a copy of every blob, in the order in which they are asked when the first one fails:
# "nas,cloud" reads PORTAL_REPLICA_NAS_DIR or PORTAL_REPLICA_NAS_S3_BUCKET ..., and so on.
REPLICAS = {
    f"replica-{name}": f"PORTAL_REPLICA_{name.upper().replace('-', '_')}"
    for name in env.list("PORTAL_REPLICAS", default=[])
}
# For how many days a copy there can be neither deleted nor replaced by anybody (S3 Object Lock, compliance mode).
REPLICA_LOCK_DAYS = {
    alias: days for alias, prefix in REPLICAS.items() if (days := env.int(f"{prefix}_LOCK_DAYS", default=0))
}
# For how many days copies of the database go back; with PORTAL_REPLICAS it is copied there, encrypted, all the time.
BACKUP_DAYS = env.int("PORTAL_BACKUP_DAYS", default=30)
# Who is told when backups or drills are late, fail or look at too little: addresses (empty: the platform's admins, or
# where there are none the owners), and a URL that gets the same as JSON, signed with the secret (HMAC-SHA-256).
ALARM_EMAILS = env.list("PORTAL_ALARM_EMAILS", default=[])
ALARM_WEBHOOK = env.str("PORTAL_ALARM_WEBHOOK", default="")
ALARM_WEBHOOK_SECRET = secret("PORTAL_ALARM_WEBHOOK_SECRET")
# The hour (PORTAL_TIME_ZONE) after which the nightly restore drill begins.
DRILL_HOUR = env.int("PORTAL_DRILL_HOUR", default=3)
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},  # nothing may be saved outside apps.storage
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
    "blobs": blob_storage("PORTAL", str(DATA_DIR / "blobs")),
    **{alias: blob_storage(prefix, env.str(f"{prefix}_DIR", default="")) for alias, prefix in REPLICAS.items()},
}

# --- program assets ---------------------------------------------------------------------------------------------------
STATIC_URL = "/static/"
STATIC_ROOT = env.str("PORTAL_STATIC_ROOT", default=str(BASE_DIR / "var" / "static"))
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_ROOT = BASE_DIR / "static" / "root"
WHITENOISE_ALLOW_ALL_ORIGINS = False  # nobody else embeds our files
WHITENOISE_ADD_HEADERS_FUNCTION = add_headers
WHITENOISE_IMMUTABLE_FILE_TEST = is_immutable

# --- background work --------------------------------------------------------------------------------------------------
BROKER_URL = env.str("PORTAL_BROKER_URL", default="filesystem://localhost")
WORKERS = env.int("PORTAL_WORKERS", default=2)  # processes of the worker; long work leaves one of them free
JOB_LEASE_SECONDS = env.float("PORTAL_JOB_LEASE_SECONDS", default=30.0)

# --- people -----------------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "apps.accounts.backends.EmailBackend"]
PASSWORD_HASHERS = ["apps.accounts.hashers.BoundedArgon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [{"NAME": "apps.accounts.passwords.PolicyValidator"}]
PASSWORD_RESET_TIMEOUT = 60 * 60
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "home"
COOKIE_PREFIX = "__Host-" if SECURE else ""
SESSION_ENGINE = "apps.accounts.sessions"
SESSION_COOKIE_NAME = f"{COOKIE_PREFIX}session"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = SECURE
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 12 * 60 * 60
SESSION_EXPIRE_AT_BROWSER_CLOSE = True
CSRF_COOKIE_NAME = f"{COOKIE_PREFIX}csrf"
CSRF_FAILURE_VIEW = "portal.views.csrf_failure"
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
OTP_TOTP_ISSUER = "Viewbox"

AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_CLIENT_IP_CALLABLE = "apps.accounts.services.lockout_address"
AXES_LOCKOUT_CALLABLE = "apps.accounts.services.locked_out"
AXES_ENABLE_ACCESS_FAILURE_LOG = False
AXES_VERBOSE = False
# What is typed as a name may be a password: hashed, and no copy of the form.
AXES_USERNAME_CALLABLE = "apps.accounts.throttle.hashed_username"
AXES_SENSITIVE_PARAMETERS = ["username", "email", "password", "csrfmiddlewaretoken", "next"]
AXES_DISABLE_ACCESS_LOG = True  # our own trail has it
AXES_HTTP_RESPONSE_CODE = 429

# --- audit ------------------------------------------------------------------------------------------------------------
AUDITLOG_LOGENTRY_MODEL = "audit.AuditEvent"
# Where the newest seals are carried, each minute: file:///path, syslog://host:514 (TCP), syslog+tls://host:6514.
AUDIT_ANCHORS = env.list("PORTAL_AUDIT_ANCHORS", default=[])
# Its own table is swapped for ours; its migrations would make it all the same.
MIGRATION_MODULES: dict[str, str | None] = {"auditlog": None}
# Who acts comes from apps.audit.services.acting (set by AccessRuleMiddleware): auditlog's own middleware believes any
# X-Forwarded-For. Only what configures the house is tracked, field by field: no names, no passwords, nothing clinical.
AUDITLOG_INCLUDE_TRACKING_MODELS = [
    {
        "model": "clinics.Clinic",
        "include_fields": [
            "slug",
            "locale",
            "time_zone",
            "idle_timeout_minutes",
            "password_max_age_days",
            "is_passphrase_mode",
            "suspended_at",
        ],
    },
    {
        "model": "billing.Plan",
        "include_fields": [
            "code",
            "locale",
            "currency",
            "monthly_price",
            "storage_bytes",
            "seats",
            "links",
            "is_default",
            "valid_from_date",
            "valid_until_date",
        ],
    },
    {"model": "billing.Subscription", "include_fields": ["plan", "starts_at"]},
    {
        "model": "accounts.User",
        "include_fields": ["email", "is_active", "is_staff", "locale"],
        "mask_fields": ["email"],
    },
]

# --- mail -------------------------------------------------------------------------------------------------------------
EMAIL_CONFIG = env.email_url("PORTAL_EMAIL_URL", default="consolemail://")
vars().update(EMAIL_CONFIG)
DEFAULT_FROM_EMAIL = env.str("PORTAL_MAIL_FROM", default="Viewbox <viewbox@localhost>")
if not PRODUCTION and not env.str("PORTAL_EMAIL_URL", default=""):
    # Without a mail server the embedded installation drops mail into a folder that the operator can read.
    EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    EMAIL_FILE_PATH = str(DATA_DIR / "mail")

# --- security headers -------------------------------------------------------------------------------------------------
SECURE_SSL_REDIRECT = SECURE
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if SECURE else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE
SECURE_HSTS_PRELOAD = SECURE
SECURE_CONTENT_TYPE_NOSNIFF = True
# With "no-referrer" browsers send "Origin: null" on our own forms, which Django's CSRF check refuses; the pages of
# share links, whose first URL is a secret, send "no-referrer" themselves.
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "manifest-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "object-src": [NONE],
        "frame-ancestors": [NONE],
    }
}

# --- language and time ------------------------------------------------------------------------------------------------
LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("de", _("German"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
LANGUAGE_COOKIE_NAME = f"{COOKIE_PREFIX}language"
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
TIME_ZONE = env.str("PORTAL_TIME_ZONE", default="UTC")
FORMAT_MODULE_PATH = ["portal.formats"]
USE_I18N = USE_TZ = True

# --- logs: one JSON object a line, allow-listed fields, no bodies, no names -------------------------------------------
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "portal.logs.JsonFormatter"}},
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "json"},
        "nothing": {"class": "logging.NullHandler"},
    },
    "root": {"handlers": ["stderr"], "level": env.str("PORTAL_LOG_LEVEL", default="INFO")},
    "loggers": {
        # Django's own request log would carry paths with tokens; ours (portal.logs) names the route instead.
        # (A logger without any handler would fall back to Python's last resort: standard error.)
        "django.request": {"handlers": ["nothing"], "propagate": False},
        "django.server": {"handlers": ["nothing"], "propagate": False},
        "pydicom": {"level": "ERROR"},
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
        "axes": {"level": "ERROR"},
    },
}
