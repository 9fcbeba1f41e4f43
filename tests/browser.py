"""A headless Chromium that tests can ask, through its DevTools protocol.

The protocol is spoken over a pair of pipes, so nothing but the browser itself is needed.
https://chromedevtools.github.io/devtools-protocol
"""

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
    "--disable-dev-shm-usage", "--disable-background-networking", "--disable-extensions",
    "--font-render-hinting=none", "--remote-debugging-pipe",
)  # fmt: skip
SECONDS = 60  # to wait for one answer; a browser takes some to start on a busy machine


def find() -> str | None:
    """The path of a Chromium or Chrome on this machine, if there is one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """A tab of the browser, and what went wrong in it.

    Attributes
    ----------
    problems : messages on the console, exceptions, and what the content policy refused
    requests : addresses that were asked for, the page's own among them
    """

    def __init__(self, send: int, receive: int) -> None:
        self._send, self._receive = send, receive
        self._rest, self._number, self._session, self._loaded = b"", 0, "", False
        self.problems: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def open(self, path: Path, *, width: int, height: int = 900, dark: bool) -> None:
        """Show a file in a window of that size, with the light or dark color scheme."""
        self.problems.clear()
        self.requests.clear()
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        self._loaded = False
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not self._loaded:
            self._next()

    def ask(self, expression: str) -> Any:
        """The value of an expression of JavaScript in the page, as JSON holds it."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Strike a key such as Tab or ArrowRight."""
        codes = {"Tab": 9, "Enter": 13, "ArrowLeft": 37, "ArrowRight": 39}
        text = {"text": "\r"} if key == "Enter" else {}
        which = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
        self.call("Input.dispatchKeyEvent", type="keyDown", **which, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **which)

    def point(self, selector: str) -> None:
        """Move the mouse to the middle of the first element that a selector finds."""
        x, y = self._middle(selector)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def touch(self, selector: str) -> None:
        """Tap the middle of the first element that a selector finds."""
        x, y = self._middle(selector)
        self.call("Emulation.setTouchEmulationEnabled", enabled=True)
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        self.call("Emulation.setTouchEmulationEnabled", enabled=False)

    def _middle(self, selector: str) -> tuple[float, float]:
        found = f"document.querySelector({json.dumps(selector)})"
        self.ask(f"{found}.scrollIntoViewIfNeeded()")
        box = f"{found}.getBoundingClientRect()"
        x, y = self.ask(f"(box => [box.x + box.width / 2, box.y + box.height / 2])({box})")
        return x, y

    def screenshot(self, path: Path, selector: str = "", width: int = 700) -> None:
        """Write a PNG of the window, or of an element, with that width."""
        clip = {}
        if selector:
            box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
            area = ("x", "y", "width", "height")
            found = self.ask(f"(b => [b.x + scrollX, b.y + scrollY, b.width, b.height])({box})")
            clip = {"clip": dict(zip(area, found, strict=True)) | {"scale": width / found[2]}}
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=bool(clip), **clip)
        path.write_bytes(base64.b64decode(shot["data"]))

    def call(self, method: str, **parameters: Any) -> Any:
        """The result of a method of the protocol."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + SECONDS
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._receive], [], [], max(0, end - time.monotonic()))
            data = os.read(self._receive, 1 << 20) if ready else b""
            if not data:
                raise RuntimeError("the browser has ended" if ready else "the browser is silent")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, method: str | None, facts: dict[str, Any]) -> None:
        if method == "Runtime.consoleAPICalled":
            self.problems.append(f"console: {facts['args']}")
        elif method == "Runtime.exceptionThrown":
            self.problems.append(f"exception: {facts['exceptionDetails']}")
        elif method == "Log.entryAdded":
            self.problems.append(f"log: {facts['entry']['text']}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(facts["request"]["url"])
        elif method == "Page.loadEventFired":
            self._loaded = True


@contextmanager
def browsing(program: str, profile: Path) -> Iterator[Page]:
    """A browser with one empty tab; `profile` is a folder for its own files."""
    their_in, our_out = os.pipe()
    our_in, their_out = os.pipe()
    # The protocol's pipes are descriptors 3 and 4, whatever numbers these have here.
    door = f'exec "$0" "$@" 3<&{their_in} 4>&{their_out}'
    process = subprocess.Popen(
        ["bash", "-c", door, program, *FLAGS, f"--user-data-dir={profile}"],
        pass_fds=(their_in, their_out),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    os.close(their_in)
    os.close(their_out)
    try:
        yield Page(our_out, our_in)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(our_out)
        os.close(our_in)
