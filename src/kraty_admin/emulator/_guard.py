"""Reject requests of foreign web pages, and serve those of programs.

Any page in the developer's browser can send requests to every port of the machine. Such a
request has the page's `Origin`. Or, if the page's host name was rebound to 127.0.0.1, it has
that name as `Host`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from kraty_admin._transport._proxy import is_loopback

from ._errors import EmulatedError

__all__ = ["check_content_type", "check_source"]


def check_source(headers: Mapping[bytes, bytes], allowed_hosts: Collection[str]) -> None:
    """Reject a request from a page of another origin, or for another host.

    Args:
        headers: The request's headers, with lower-case names.
        allowed_hosts: Host names to serve in addition to those of the loopback interface.

    Raises:
        EmulatedError: The request is rejected.
    """
    host = headers.get(b"host", b"").decode("latin-1").lower()
    name = _without_port(host)
    if not is_loopback(name) and name not in allowed_hosts:
        raise _forbidden(f"The emulator does not serve the host {name!r}; see --allow-host.")
    origin = headers.get(b"origin")
    if origin is not None and origin.decode("latin-1").lower() != f"http://{host}":
        raise _forbidden("The emulator does not serve pages of other origins.")
    # Browsers send this header even in requests without an Origin.
    if headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin"):
        raise _forbidden("The emulator does not serve pages of other origins.")


def check_content_type(headers: Mapping[bytes, bytes]) -> None:
    """Reject a body that is not declared as JSON: a page may send other types without preflight.

    Raises:
        EmulatedError: The content type is not JSON, or is missing.
    """
    declared = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if declared != b"application/json":
        raise EmulatedError(
            "validation_failed",
            "A body needs the header Content-Type: application/json.",
            status=415,
        )


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _forbidden(message: str) -> EmulatedError:
    return EmulatedError("forbidden", message)
