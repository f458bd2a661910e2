"""`edge-ad demo` in a process of its own, and Debian's Chromium by its own driver. Selenium downloads none."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.paths import ROOT
from tests.processes import child

WIDTH, HEIGHT = 1280, 800
WAIT_S = 60  # a busy machine stalls; nothing waits so long without a fault
DEMO = ("-m", "edge_ad.cli", "demo")


@contextlib.contextmanager
def served(*arguments: object, under: Sequence[str] = (), env: dict[str, str] | None = None) -> Iterator[Any]:
    """The page of these arguments on a free port: (its address, its process). It ends when the test does."""
    if importlib.util.find_spec("gradio") is None:  # an import here would take seconds, and is the command's
        pytest.skip("the page needs gradio (the page extra)")
    command = [*under, sys.executable, *DEMO, *map(str, arguments), "--port", "0"]
    inherited = {**os.environ, "PYTHONPATH": str(ROOT)} if env is None else env
    with child(command, stdout=-1, stderr=-1, env=inherited) as process:
        late = threading.Timer(2 * WAIT_S, process.kill)
        late.start()
        line = process.stdout.readline()  # type: ignore[union-attr]
        late.cancel()
        if not line.startswith("http://"):
            pytest.fail(f"no page: {line}{process.communicate()[1]}")
        yield line.split()[0], process


@contextlib.contextmanager
def chromium(profile: Path) -> Iterator[Any]:
    """A headless Chromium that knows no other computer. Skips where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (the browser extra)")
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("Chromium or its driver is not installed (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    own = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    own += ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run"]
    own += [
        "--disable-background-networking",
        "--disable-component-update",
        "--host-resolver-rules=MAP * ~NOTFOUND,EXCLUDE 127.0.0.1",
    ]
    for argument in (*own, f"--window-size={WIDTH},{HEIGHT}", f"--user-data-dir={profile}"):
        options.add_argument(argument)
    from selenium.webdriver.chrome.service import Service

    browser = webdriver.Chrome(options=options, service=Service(executable_path=driver))
    try:
        yield browser
    finally:
        browser.quit()


class Page:
    """The page as a person uses it."""

    def __init__(self, browser: Any, address: str) -> None:
        self.browser, self.address = browser, address
        size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(address)
        self.until(lambda: self.all("#upload input[type=file]") and self.all("#card .edge-card"))

    def all(self, selector: str) -> list[Any]:
        return list(self.browser.find_elements("css selector", selector))

    def until(self, done: Callable[[], Any]) -> Any:
        """Waits until something holds. What is replaced at that moment is looked for again."""
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.ui import WebDriverWait

        waiting = WebDriverWait(self.browser, WAIT_S, 0.1, ignored_exceptions=[StaleElementReferenceException])
        return waiting.until(lambda _: done(), self.text("#card"))

    def text(self, selector: str) -> str:
        return " ".join(str(self.browser.execute_script(_TEXT, selector)).split())

    def choose(self, name: str) -> None:
        """Clicks the sample with that name."""
        self.rest()
        captions = "#samples .caption-label"
        self.until(lambda: name in self.text(captions))
        names = [each.get_attribute("innerText").strip() for each in self.all(captions)]
        tile = self.all("#samples button.thumbnail-item")[names.index(name)]
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'nearest'})", tile)
        tile.click()
        self.settle(name)

    def upload(self, *files: Path) -> None:
        """Gives files to the upload, in place of those before."""
        self.rest()
        for clear in self.all("#upload button[aria-label=Clear]"):
            clear.click()
        field = self.until(lambda: self.all("#upload input[type=file]"))[0]
        field.send_keys("\n".join(map(str, files)))
        self.settle(files[-1].name)

    def rest(self) -> None:
        """Waits until the page has asked for nothing for a second, as a person does.

        Gradio 6.31 loses the answer to what is asked while its stream of answers closes: the server computes it, and
        the page goes on showing what it did.
        """
        asked, since = -1, time.monotonic()
        while time.monotonic() - since < 1.0:
            time.sleep(0.1)
            now = int(self.browser.execute_script(_ASKED))
            if now != asked:
                asked, since = now, time.monotonic()

    def settle(self, name: str) -> None:
        """Waits until the page speaks of that image, and nothing is under way."""
        self.until(lambda: name in self.text("#facts") + self.text("#card") and "processing" not in self.text("#card"))

    def press_in_slider(self, *keys: str) -> None:
        self.all("#threshold input[type=range]")[0].send_keys(*keys)

    def pixels(self, name: str) -> str:
        """The pixels of a picture that the page shows, as a data URL."""
        self.until(lambda: self.browser.execute_script(_LOADED, name))
        return str(self.browser.execute_script(_PIXELS, name))

    def asked_elsewhere(self) -> list[str]:
        """Addresses, other than the page's own, that were asked for since the last call."""
        asked = set()
        for entry in self.browser.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
                asked.add(message["params"].get("request", message["params"])["url"])
        assert any(each.startswith(self.address) for each in asked)  # the log is one
        return sorted(each for each in asked if not each.startswith((self.address, "data:", "blob:", "chrome:")))


_TEXT = "return Array.from(document.querySelectorAll(arguments[0]), each => each.innerText).join(' ')"
_ASKED = "return performance.getEntriesByType('resource').filter(each => each.name.includes('/queue/')).length"
_LOADED = (
    "let i = document.querySelector(`#${arguments[0]} img`); return i !== null && i.complete && i.naturalWidth > 0"
)
_PIXELS = """
let image = document.querySelector(`#${arguments[0]} img`), canvas = document.createElement("canvas");
canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
canvas.getContext("2d").drawImage(image, 0, 0);
return canvas.toDataURL("image/png");
"""
