"""A page in headless chromium that is typed into and looked at, over the pipe of the DevTools protocol."""

import base64
import json
import os
import select
import subprocess
import time
from contextlib import contextmanager, suppress

from browser import chromium

KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, "End": 35, "Home": 36}
KEYS |= {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
PATIENCE_S = 20


class Page:
    """One tab; what it requests and what is written to its console is kept."""

    def __init__(self, send, receive):
        self._send, self._receive, self._last, self._session = send, receive, 0, None
        self._buffer, self._planted = b"", None
        self.requested, self.written = [], []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")
        self._call("Emulation.setFocusEmulationEnabled", enabled=True)

    def _call(self, method, **parameters):
        """Send a command; return its result, and note the events that come before it."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while (found := self._message()).get("id") != self._last:
            self._note(found.get("method"), found.get("params", {}))
        assert "result" in found, (method, found)
        return found["result"]

    def _message(self):
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._receive], [], [], PATIENCE_S)
            assert ready, "the browser does not answer"
            some = os.read(self._receive, 1 << 20)
            assert some, "the browser is gone"
            self._buffer += some
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, method, told):
        if method == "Network.requestWillBeSent":
            self.requested.append((told["request"]["method"], told["request"]["url"]))
        elif method == "Runtime.consoleAPICalled":
            self.written.append(str([one.get("value", one.get("description")) for one in told["args"]]))
        elif method == "Runtime.exceptionThrown":
            self.written.append(str(told["exceptionDetails"].get("exception", told)))
        elif method == "Log.entryAdded" and told["entry"]["level"] != "verbose":
            self.written.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")

    def open(self, url):
        """Load a page anew, also one that differs in its fragment alone."""
        self._call("Page.navigate", url="about:blank")
        self.requested.clear()
        self.written.clear()
        self._call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def told(self, script):
        """Evaluate an expression and return its value."""
        found = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, (script, found["exceptionDetails"])
        return found["result"].get("value")

    def until(self, script):
        """Wait until an expression holds and return its value."""
        end = time.monotonic() + PATIENCE_S
        while not (found := self.told(script)):
            assert time.monotonic() < end, (script, self.written, self.told("document.body.innerText"))
            time.sleep(0.01)
        return found

    def press(self, *keys, shift=False):
        """Press keys as a hand does: named ones, or text that is typed."""
        for key in keys:
            if key not in KEYS:
                self._call("Input.insertText", text=key)
                continue
            stroke = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key], "modifiers": 8 * shift}
            text = {"text": "\r"} if key == "Enter" else {}
            self._call("Input.dispatchKeyEvent", type="keyDown", **stroke, **text)
            self._call("Input.dispatchKeyEvent", type="keyUp", **stroke)

    def plant(self, script):
        """Run a script in every page that is opened from now on, before its own; "" takes it out again."""
        if self._planted:
            self._call("Page.removeScriptToEvaluateOnNewDocument", identifier=self._planted)
        told = self._call("Page.addScriptToEvaluateOnNewDocument", source=script)
        self._planted = told["identifier"]

    def bypass_policy(self, enabled):
        """Let pages do what their Content-Security-Policy forbids."""
        self._call("Page.setBypassCSP", enabled=enabled)

    def shape(self, width, height=900, scheme="light"):
        """Make the window as wide as a phone or a desk, by day or by night."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        schemes = [{"name": "prefers-color-scheme", "value": scheme}]
        self._call("Emulation.setEmulatedMedia", features=schemes)
        self.told("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")

    def picture(self, path, *, whole=True):
        """Write what is seen as PNG, or the whole page."""
        data = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))


@contextmanager
def driven(folder):
    """Start a browser for as long as the block runs."""
    to_browser, from_browser = os.pipe(), os.pipe()
    arguments = [
        chromium(), "--headless=new", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--no-proxy-server",
        "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe",
        f"--user-data-dir={folder}/profile", *(["--no-sandbox"] if os.geteuid() == 0 else []),
    ]  # fmt: skip
    wired = f'exec "$@" 3<&{to_browser[0]} 4>&{from_browser[1]}'  # the browser reads from 3 and writes to 4
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", wired, "bash", *arguments], pass_fds=(to_browser[0], from_browser[1]), stderr=log, stdout=log
        )
    os.close(to_browser[0])
    os.close(from_browser[1])
    try:
        yield Page(to_browser[1], from_browser[0])
    finally:
        os.close(to_browser[1])  # it ends when nobody can tell it anything
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(from_browser[0])
