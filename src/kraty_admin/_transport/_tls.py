"""Trusted certificate authorities: one TLS context per process and configuration."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Final, NamedTuple

import httpx

from ._process import this_process

__all__ = ["Authorities", "authorities", "tls_context"]


class Authorities(NamedTuple):
    """The certificate authorities that the environment named when a client was made."""

    file: str | None
    folder: str | None
    changed_at: float | None
    """When the file was last changed, so that a new client reads a file that was replaced."""


def authorities() -> Authorities:
    """Return the authorities that the environment names now.

    Raises:
        ValueError: It names a file or directories that do not exist.
    """
    file = os.environ.get("SSL_CERT_FILE") or None
    folder = os.environ.get("SSL_CERT_DIR") or None
    # OpenSSL silently ignores a directory that does not exist.
    if file and not Path(file).is_file():
        raise ValueError("SSL_CERT_FILE in the environment is not a file")
    if folder and not any(Path(part).is_dir() for part in folder.split(os.pathsep)):
        raise ValueError("SSL_CERT_DIR in the environment is not a directory")
    return Authorities(file, folder, Path(file).stat().st_mtime if file else None)


_contexts: Final[dict[tuple[object, ...], ssl.SSLContext]] = {}


def tls_context(trusted: Authorities) -> ssl.SSLContext:
    """Return the context for these authorities, or for httpx's default ones.

    Reading them takes longer than many calls, and they make up most of a client's memory. So
    the clients of a process share a context.

    Raises:
        ValueError: They cannot be read.
    """
    # The class is part of the key because gevent replaces it: sockets of the original class
    # would block all greenlets of the thread.
    key = (this_process(), ssl.SSLContext, trusted)
    context = _contexts.get(key)
    # No lock, because a fork could inherit one that another thread holds.
    return _contexts.setdefault(key, _make(trusted)) if context is None else context


def _make(trusted: Authorities) -> ssl.SSLContext:
    if trusted.folder and not trusted.file:
        return ssl.create_default_context(capath=trusted.folder)  # read when they are needed
    try:
        if trusted.file:
            return ssl.create_default_context(cafile=trusted.file)
        return httpx.create_ssl_context(trust_env=False)
    except OSError as error:  # it does not name the file
        if trusted.file:
            what = f"SSL_CERT_FILE in the environment cannot be used: {trusted.file}"
        else:
            import certifi  # as httpx does; only here, since no other code needs it

            what = f"the certificate authorities of certifi cannot be used: {certifi.where()}"
        raise ValueError(f"{what}: {error}") from None
