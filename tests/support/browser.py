"""A headless Chromium, driven through its DevTools protocol: what a page shows, does, and complains about."""

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from websockets.sync.client import connect
from websockets.sync.connection import Connection

CHROMIUM = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
_SECONDS = 300.0
_SWITCHES = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--force-color-profile=srgb", "--remote-debugging-port=0", "about:blank"),
)
# What a page asks for by itself; the first is the page.
_ALLOWED = ("file:", "data:", "http://127.0.0.1:", "http://localhost:")


@dataclass
class Tab:
    """One page. ``complaints``: errors, refusals of its policy, and exceptions; ``strays``: what it asked for
    outside of this machine."""

    socket: Connection
    complaints: list[str] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    loaded: int = 0
    _numbers: "count[int]" = field(default_factory=lambda: count(1))

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One DevTools command and its answer; events in between are recorded."""
        number = next(self._numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv(timeout=_SECONDS))
            if message.get("id") == number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            self._note(message.get("method", ""), message.get("params", {}))

    def _note(self, event: str, told: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self.loaded += 1
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(told["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.complaints.append(json.dumps(told["args"]))
        elif event == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
        elif event == "Network.requestWillBeSent" and not told["request"]["url"].startswith(_ALLOWED):
            self.strays.append(told["request"]["url"])

    def open(self, url: str) -> None:
        before = self.loaded
        self.call("Page.navigate", url=url)
        self.wait(lambda: self.run("document.readyState") == "complete" and self.loaded > before)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise's, once it has one."""
        told = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def wait(self, condition: Any) -> None:
        """Wait until ``condition()``, or a JavaScript expression, is true."""
        deadline = time.monotonic() + _SECONDS
        while not (condition() if callable(condition) else self.run(condition)):
            assert time.monotonic() < deadline, f"never came true: {condition}"
            time.sleep(0.05)

    def size(self, width: int, height: int, *, phone: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )

    def prefer(self, scheme: str, media: str = "") -> None:
        """``scheme``: light or dark. ``media``: print, or "" for the screen."""
        wish = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=wish)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """A PNG of the window, or of the whole page."""
        told = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(told["data"]))


@contextmanager
def running_browser(directory: Path) -> Iterator[Tab]:
    """A tab of a fresh Chromium, whose profile is kept in ``directory`` while this lasts."""
    assert CHROMIUM is not None
    profile = directory / "profile"
    process = subprocess.Popen(
        [CHROMIUM, f"--user-data-dir={profile}", *_SWITCHES],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(directory)},
        start_new_session=sys.platform != "win32",
    )
    try:
        with connect(_address(profile, process), max_size=None, ping_interval=None) as browser:
            target = Tab(browser).call("Target.createTarget", url="about:blank")["targetId"]
            host = browser.request.headers["Host"] if browser.request else ""
            with connect(f"ws://{host}/devtools/page/{target}", max_size=None, ping_interval=None) as socket:
                tab = Tab(socket)
                for domain in ("Page", "Runtime", "Log", "Network"):
                    tab.call(f"{domain}.enable")
                yield tab
            Tab(browser).call("Browser.close")
        process.wait(timeout=_SECONDS)
    finally:
        process.kill()
        process.wait(timeout=_SECONDS)


def _address(profile: Path, process: subprocess.Popen[bytes]) -> str:
    """Chromium writes the port it took, and the path, into its profile."""
    told = profile / "DevToolsActivePort"
    deadline = time.monotonic() + _SECONDS
    while not (told.exists() and len(told.read_text().splitlines()) == 2):
        assert process.poll() is None, f"{CHROMIUM} ended with status {process.returncode}"
        assert time.monotonic() < deadline, f"{CHROMIUM} did not start"
        time.sleep(0.05)
    port, path = told.read_text().splitlines()
    return f"ws://127.0.0.1:{port}{path}"
