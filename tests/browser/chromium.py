"""A real headless Chromium, steered through its DevTools protocol."""

from __future__ import annotations

import base64
import itertools
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
import websocket

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Without these it looks for updates and services that a closed network does not have.
QUIET = ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
COMPLAINTS = {"Log.entryAdded", "Runtime.exceptionThrown"}


class Browser:
    """One page. `complaints` collects what the browser refused (content security policy, failed loads) and script errors."""

    def __init__(self, address: str) -> None:
        self._socket = websocket.create_connection(address, timeout=30)
        self._numbers = itertools.count(1)
        self.complaints: list[str] = []
        for domain in ("Page", "Log", "Runtime", "Network"):
            self.command(f"{domain}.enable")

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            if message.get("method") in COMPLAINTS:
                self.complaints.append(json.dumps(message["params"]))

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self.command("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, script: str, seconds: float = 20) -> None:
        """Wait until the expression is true."""
        end = time.monotonic() + seconds
        while not self.run(f"Boolean({script})"):
            assert time.monotonic() < end, f"not true within {seconds} s: {script}"
            time.sleep(0.1)

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self.run("window.leaving = true")
        self.command("Page.navigate", url=url)
        self.until("!window.leaving && document.readyState === 'complete'")

    def view(self, width: int, height: int = 900, *, dark: bool = False) -> None:
        """Set the size of the window and the colour scheme."""
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def log_in(self, url: str, name: str, password: str) -> None:
        """Through the login form, as a person does."""
        self.open(f"{url}/admin/login/")
        fill = "document.querySelector('[name={}]').value = {}"
        self.run(f"{fill.format('username', json.dumps(name))}; {fill.format('password', json.dumps(password))}; window.leaving = true;")
        self.run("document.querySelector('form').submit()")
        self.until("!window.leaving && document.readyState === 'complete'")
        assert not self.run("location.pathname").endswith("/login/"), "the login was refused"

    def screenshot(self) -> bytes:
        """The window as PNG."""
        return base64.b64decode(self.command("Page.captureScreenshot", format="png")["data"])

    def close(self) -> None:
        """Leave the page."""
        self._socket.close()


@contextmanager
def browser() -> Iterator[Browser]:
    """A fresh browser with an empty profile."""
    assert PROGRAM, "no Chromium is installed"
    with tempfile.TemporaryDirectory(prefix="argus-browser-", ignore_cleanup_errors=True) as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", *QUIET, "--remote-debugging-port=0", "--remote-allow-origins=*"]
        process = subprocess.Popen([PROGRAM, *options, f"--user-data-dir={profile}", "about:blank"], stderr=subprocess.PIPE, text=True)
        try:
            assert process.stderr
            address = next(match[1] for line in process.stderr if (match := re.search(r"listening on ws://([^/]+)/", line)))
            pages = requests.get(f"http://{address}/json", timeout=10).json()
            page = Browser(next(entry["webSocketDebuggerUrl"] for entry in pages if entry["type"] == "page"))
            yield page
            page.close()
        finally:
            process.kill()
            process.wait()
