"""A headless Chromium that is driven through the pipe of its DevTools: nothing but the browser itself is needed."""

import base64
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--remote-debugging-pipe")
SECONDS = 60.0


class Page:
    """One page of the browser."""

    def __init__(self, asks: int, answers: int) -> None:
        self._asks, self._answers = asks, answers
        self._numbers = itertools.count(1)
        self._rest = b""
        self.session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def call(self, method: str, **words: Any) -> dict[str, Any]:
        """One command of the protocol; what the browser says of its own accord is passed over."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": words}
        message |= {} if self.session is None else {"sessionId": self.session}
        os.write(self._asks, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._rest:
                part = os.read(self._answers, 1 << 20)
                assert part, "the browser has ended"
                self._rest += part
            text, _, self._rest = self._rest.partition(b"\0")
            answer = json.loads(text)
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript gives in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, expression: str) -> Any:
        """The value of an expression as soon as it is true."""
        deadline = time.monotonic() + SECONDS
        while not (found := self.value(expression)):
            assert time.monotonic() < deadline, f"never true: {expression}: {self.value('document.body.innerText')}"
            time.sleep(0.05)
        return found

    def open(self, address: str, width: int = 1000, height: int = 1500) -> None:
        """Show a page in a window of some size, in pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        for place in ("about:blank", address):  # an address that differs in its hash alone would not be loaded anew
            self.call("Page.navigate", url=place)

    def drop(self, file: Path, selector: str) -> None:
        """Drop a file on an element, as a hand with a mouse does."""
        place = self.value(
            f"(() => {{ const part = document.querySelector('{selector}'); part.scrollIntoView({{block: 'center'}});"
            "const box = part.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=place[0], y=place[1], data=data)

    def screenshot(self, path: Path) -> None:
        """Write what the window shows."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))


@contextmanager
def chromium(folder: Path) -> Iterator[Page]:
    """A page of a fresh browser that keeps its files in a folder; the test is skipped where there is no browser."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser to open the page in: none of {', '.join(BROWSERS)} is installed")
    (reads, asks), (answers, writes) = os.pipe(), os.pipe()
    command = ["bash", "-c", f'exec "$@" 3<&{reads} 4>&{writes}', "bash", browser, *FLAGS, f"--user-data-dir={folder}"]
    with subprocess.Popen(command, pass_fds=(reads, writes), stderr=subprocess.DEVNULL) as process:
        os.close(reads)
        os.close(writes)
        try:
            yield Page(asks, answers)
        finally:
            process.kill()
            os.close(asks)
            os.close(answers)
