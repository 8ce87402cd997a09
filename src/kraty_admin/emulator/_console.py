"""The console: a page that shows and controls the emulator, at `/` in a browser.

It calls `/_emulator/` like any other program, and shows all answers as text. The content security
policy allows it to load only its own files, and no page may show it in a frame.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ._errors import EmulatedError
from ._platform import Answer

__all__ = ["CONSOLE", "serve_console"]

_FOLDER: Final = Path(__file__).with_name("console")

CONSOLE: Final[Mapping[str, tuple[str, str]]] = {
    "/": ("console.html", "text/html; charset=utf-8"),
    "/_emulator/console.css": ("console.css", "text/css; charset=utf-8"),
    "/_emulator/console.js": ("console.js", "text/javascript; charset=utf-8"),
    "/_emulator/console.svg": ("console.svg", "image/svg+xml"),
}
"""The file and the content type for each path of the console."""

_POLICY: Final = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # The browser then refuses to turn text into markup, even if the script tried.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)


def serve_console(method: str, path: str) -> Answer:
    """Answer a request for one of the console's files.

    Raises:
        EmulatedError: The method is not GET.
    """
    if method != "GET":
        raise EmulatedError(
            "not_found", f"{path} does not take {method}.", status=405, headers={"Allow": "GET"}
        )
    name, content_type = CONSOLE[path]
    return Answer(
        status=200,
        headers={
            "Content-Type": content_type,
            "Content-Security-Policy": _POLICY,
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            # Another version of the emulator may be at the same address tomorrow.
            "Cache-Control": "no-store",
        },
        body=_read(name),
    )


@functools.cache
def _read(name: str) -> bytes:
    return (_FOLDER / name).read_bytes()
