"""A headless Chromium by the HTTP interface of its driver (W3C WebDriver), and what a page must keep for everybody."""

from __future__ import annotations

import base64
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import requests

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
#: Why there is no test with a browser; empty where there is one.
MISSING = "" if CHROMIUM and DRIVER else "needs Debian's chromium and chromium-driver"
ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """A browser with one window; to be used in ``with``."""

    def __init__(self, width: int = 1280, height: int = 900) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="brain2clip-browser-")
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        command = [str(DRIVER), f"--port={port}"]
        self.driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.http = requests.Session()
        self.http.trust_env = False  # no proxy stands between us and our own driver
        self.address = f"http://127.0.0.1:{port}"
        try:
            self._wait(lambda: self.http.get(f"{self.address}/status", timeout=5).json()["value"]["ready"])
            options = {
                "binary": CHROMIUM,
                "args": [*ARGUMENTS, f"--user-data-dir={self.folder.name}", f"--window-size={width},{height}"],
            }
            asked = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            made = self._send("post", "/session", {"capabilities": {"alwaysMatch": asked}})
            self.address += f"/session/{made['sessionId']}"
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the browser and its driver."""
        try:
            if "/session/" in self.address:
                self.http.delete(self.address, timeout=30)
        finally:
            self.driver.terminate()
            self.driver.wait(30)
            self.http.close()
            self.folder.cleanup()

    def open(self, path: Path, state: str = "") -> None:
        """Open a file from disk; ``state`` is what stands behind the # of the address."""
        self._send("post", "/url", {"url": "about:blank"})
        self._send("post", "/url", {"url": path.absolute().as_uri() + state})

    def run(self, script: str, *given: Any) -> Any:
        """What a script returns."""
        return self._send("post", "/execute/sync", {"script": script, "args": list(given)})

    def until(self, script: str, *given: Any) -> Any:
        """The first value of a script that counts as true."""
        return self._wait(lambda: self.run(script, *given))

    def command(self, name: str, **given: Any) -> Any:
        """A command of Chromium's own protocol."""
        return self._send("post", "/goog/cdp/execute", {"cmd": name, "params": given})

    def click(self, selector: str) -> None:
        """Click the first element that a selector finds, as a person does."""
        found = self._send("post", "/element", {"using": "css selector", "value": selector})
        self._send("post", f"/element/{found[_ELEMENT]}/click", {})

    def write(self, selector: str, text: str) -> None:
        """Type into the first element that a selector finds."""
        found = self._send("post", "/element", {"using": "css selector", "value": selector})
        self._send("post", f"/element/{found[_ELEMENT]}/value", {"text": text})

    def press(self, key: str, times: int = 1) -> None:
        """Press a key."""
        keys = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}] * times
        self._send("post", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": keys}]})

    def choose(self, selector: str, value: str) -> None:
        """Choose an option of a select."""
        self.run(
            "const one = document.querySelector(arguments[0]); one.value = arguments[1];"
            "one.dispatchEvent(new Event('change', {bubbles: true}));",
            selector,
            value,
        )

    def scheme(self, name: str) -> None:
        """Light or dark."""
        self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def size(self, width: int, height: int) -> None:
        """Size of the window, as that of a phone."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.command("Emulation.setDeviceMetricsOverride", **metrics)

    def complaints(self) -> list[str]:
        """What was written to the console since it was last asked for."""
        return [one["message"] for one in self._send("post", "/se/log", {"type": "browser"})]

    def picture(self, path: Path) -> None:
        """Write what the window shows as PNG."""
        path.write_bytes(base64.b64decode(self._send("get", "/screenshot")))

    def _send(self, method: str, path: str, given: dict[str, Any] | None = None) -> Any:
        answer = self.http.request(method, self.address + path, json=given, timeout=120).json()["value"]
        if isinstance(answer, dict) and "error" in answer:
            raise RuntimeError(f"{answer['error']}: {answer['message']}")
        return answer

    @staticmethod
    def _wait(asked: Any, seconds: float = 60) -> Any:
        """What is asked for, as soon as it is true."""
        end = time.monotonic() + seconds
        while True:
            try:
                if found := asked():
                    return found
            except requests.ConnectionError:
                pass
            if time.monotonic() > end:
                raise TimeoutError("the browser did not come that far")
            time.sleep(0.05)


#: Looks at a page as a checker of accessibility does, without one: what is found wrong, in words.
CHECK = (Path(__file__).parent / "accessible.js").read_text(encoding="utf-8")
