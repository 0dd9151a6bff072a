# SPDX-License-Identifier: GPL-3.0-or-later
"""Headless Chromium, spoken to over pipes by its DevTools protocol: no driver and no library is needed."""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from waiting import WAIT_S, wait_for

_SWITCHES = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe",
    "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-default-apps", "--hide-scrollbars", "--force-color-profile=srgb",
)  # fmt: skip


class Browser:
    """One page of one Chromium. ``said`` has what the page's console and the browser's log told."""

    def __init__(self) -> None:
        assert shutil.which("chromium"), "the page is tested in Debian's chromium (apt-get install chromium)"
        self._profile = Path(tempfile.mkdtemp(prefix="gtfs-chromium-"))
        self._ids = itertools.count(1)
        self._buffer = b""
        self.said: list[str] = []
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()

        command = ["chromium", *_SWITCHES, f"--user-data-dir={self._profile}", "about:blank"]
        # It reads from descriptor 3 and writes to 4, which a shell puts there.
        script = f'exec "$@" 3<&{to_read} 4>&{to_write}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", *command], pass_fds=(to_read, to_write), start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self._profile), "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        os.close(to_read)
        os.close(to_write)
        self._session: str | None = None
        targets = self("Target.getTargets")["targetInfos"]
        target = next(t["targetId"] for t in targets if t["type"] == "page")
        self._session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self(f"{domain}.enable")

    def __call__(self, method: str, **params: Any) -> Any:
        """What a method of the protocol gives."""
        number = next(self._ids)
        message = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def _next(self) -> Any:
        while b"\0" not in self._buffer:
            assert select.select([self._read], [], [], WAIT_S)[0], "chromium says nothing"
            data = os.read(self._read, 1 << 20)
            assert data, "chromium has ended"
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        found = json.loads(message)
        match found.get("method"):
            case "Log.entryAdded":
                self.said.append(found["params"]["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.said.append(found["params"]["exceptionDetails"]["text"])
            case "Runtime.consoleAPICalled":
                self.said.append(str(found["params"]["args"]))
        return found

    def size(self, width: int, height: int = 900) -> None:
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)

    def dark(self, on: bool = True) -> None:
        media = [{"name": "prefers-color-scheme", "value": "dark" if on else "light"}]
        self("Emulation.setEmulatedMedia", features=media)

    def scripts(self, on: bool) -> None:
        self("Emulation.setScriptExecutionDisabled", value=not on)

    def open(self, url: str) -> None:
        """Load a page to its end."""
        assert "errorText" not in self("Page.navigate", url=url)
        self.wait("document.readyState == 'complete' && location.href != 'about:blank'")

    def js(self, expression: str) -> Any:
        """The value of an expression in the page."""
        found = self("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, expression: str) -> Any:
        """Its first true value."""
        return wait_for(lambda: self.js(expression), lambda: f"{expression}; {self.said}")

    def press(self, key: str) -> None:
        """A key, by the name and code that browsers give it."""
        code = {"Tab": 9, "Enter": 13}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def screenshot(self, path: Path, whole: bool = True) -> None:
        found = self("Page.captureScreenshot", captureBeyondViewport=whole, format="png")
        path.write_bytes(base64.b64decode(found["data"]))

    def close(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, 9)
            self._process.wait()
        os.close(self._read)
        os.close(self._write)
        for _ in range(50):  # its children may still write there
            shutil.rmtree(self._profile, ignore_errors=True)
            if not self._profile.exists():
                return
            time.sleep(0.1)
