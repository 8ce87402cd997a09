"""A headless Chromium for tests, driven over its DevTools protocol.

The protocol is JSON with a NUL after each message, over two pipes: descriptor 3 of the browser
reads, 4 writes. So there is no port, and no WebSocket.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

__all__ = ["CHROMIUM", "Browser", "Tab"]

CHROMIUM: Final = shutil.which("chromium") or shutil.which("google-chrome")
"""The browser: Debian's package `chromium`, or Chrome."""

_PATIENCE: Final = 30.0

# Puts the pipes where the browser expects them. Popen cannot: its child inherits descriptors
# under the numbers that they have here.
_LAUNCH: Final = (
    "import os, sys; reads, writes = int(sys.argv[1]), int(sys.argv[2]);"
    " os.dup2(reads, 3); os.dup2(writes, 4); os.execv(sys.argv[3], sys.argv[3:])"
)

_OPTIONS: Final = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-proxy-server",
    "--force-color-profile=srgb",
)


class Browser:
    """A browser process with its own profile."""

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM is not None
        ours, theirs = os.pipe(), os.pipe()
        # Above 4, so that moving one does not close the other.
        reads, writes = (fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (ours[0], theirs[1]))
        # Chromium's sandbox does not start for root.
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        options = [*_OPTIONS, *sandbox, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, str(reads), str(writes), CHROMIUM, *options],
            pass_fds=(reads, writes),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (ours[0], theirs[1], reads, writes):
            os.close(end)
        self._to, self._from = ours[1], theirs[0]
        self._unread = b""
        self._last_id = 0
        self.events: list[dict[str, Any]] = []
        """What the browser has reported without being asked."""

    def close(self) -> None:
        """End the process."""
        self.call("Browser.close")
        self._process.wait(_PATIENCE)
        os.close(self._to)
        os.close(self._from)

    def call(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        """Send a command and return its result."""
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._last_id:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self.events.append(answer)

    def open(self, url: str) -> Tab:
        """Open a page in a new tab and wait until it is loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, target, session)
        tab.call("Page.enable")
        tab.call("Page.navigate", url=url)
        tab.wait("document.readyState === 'complete'")
        return tab

    def _read(self) -> dict[str, Any]:
        give_up = time.monotonic() + _PATIENCE
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._from], [], [], give_up - time.monotonic())
            piece = os.read(self._from, 1 << 20) if ready else b""
            assert piece, "the browser does not answer"
            self._unread += piece
        message, _, self._unread = self._unread.partition(b"\0")
        parsed: dict[str, Any] = json.loads(message)
        return parsed


class Tab:
    """A page in the browser."""

    def __init__(self, browser: Browser, target: str, session: str) -> None:
        self._browser = browser
        self._target = target
        self._session = session

    def call(self, method: str, **parameters: Any) -> Any:
        """Send a command to this page."""
        return self._browser.call(method, self._session, **parameters)

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page. A promise is awaited."""
        done = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until an expression is truthy in the page."""
        give_up = time.monotonic() + _PATIENCE
        while True:
            # The page waits, not the test. It may be another document the next time.
            if self.run(
                "new Promise((done) => { const look = (tries) => { let holds = false;"
                f" try {{ holds = !!({condition}); }} catch {{}}"
                " if (holds || !tries) done(holds); else setTimeout(look, 20, tries - 1); };"
                " look(50); })"
            ):
                return
            shown = self.run("document.body?.innerText")
            assert time.monotonic() < give_up, f"{condition} in\n{shown}"

    def text(self, selector: str) -> str:
        """Return the text of an element as a person sees it, with single spaces."""
        shown = self.run(f"document.querySelector({json.dumps(selector)}).innerText")
        return " ".join(str(shown).split())

    def click(self, selector: str) -> None:
        """Click an element."""
        self.run(f"document.querySelector({json.dumps(selector)}).click()")

    def dialogs(self) -> list[str]:
        """Return the messages of the dialogs that pages have opened, such as by `alert`."""
        return [
            event["params"]["message"]
            for event in self._browser.events
            if event["method"] == "Page.javascriptDialogOpening"
        ]

    def look(self, width: int, height: int, *, dark: bool = False) -> bytes:
        """Return a picture of the page, as PNG."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        # Twice: the first frame may still have the old size.
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])

    def close(self) -> None:
        """Close the tab."""
        self._browser.call("Target.closeTarget", targetId=self._target)
