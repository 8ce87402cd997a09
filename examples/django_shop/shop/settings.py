"""The settings. The environment has what differs between machines."""

import os
from pathlib import Path

# Both defaults are for a developer's machine; a server sets the variables.
SECRET_KEY = os.environ.get("SHOP_SECRET_KEY", "not-a-secret")
DEBUG = "SHOP_SECRET_KEY" not in os.environ
ALLOWED_HOSTS = os.environ.get("SHOP_HOSTS", "localhost 127.0.0.1 testserver").split()

POSTGRESQL = {
    "ENGINE": "django.db.backends.postgresql",
    # An entry of pg_service.conf, which has host, user and database.
    "OPTIONS": {"service": os.environ.get("SHOP_POSTGRES_SERVICE")},
}
SQLITE = {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": os.environ.get("SHOP_SQLITE", Path(__file__).parent.parent / "shop.sqlite3"),
    "OPTIONS": {
        # Wait for other writers, and take the lock when a transaction begins.
        "timeout": 30,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL",
    },
}
DATABASES = {"default": POSTGRESQL if "SHOP_POSTGRES_SERVICE" in os.environ else SQLITE}

# The key comes from KRATY_SERVER_KEY, the secret of the webhooks from KRATY_WEBHOOK_SECRET.
KRATY = {"DEADLINE": 60}

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "kraty_admin.contrib.django",
    "shop",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
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
ROOT_URLCONF = "shop.urls"
STATIC_URL = "static/"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
