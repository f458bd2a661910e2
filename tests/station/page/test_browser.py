"""The page in Chromium, offline: what an operator sees, touches and types, and that nothing goes elsewhere.

``EDGE_AD_SCREENSHOTS=docs python -m pytest tests/station/page/test_browser.py -k documentation`` makes the pictures of
docs/page.md and docs/drift.md: it draws cables, exports a bundle of them, and takes a minute.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette", reason="the page needs starlette (the station extra)")
pytest.importorskip("uvicorn", reason="the page needs uvicorn (the station extra)")
pytest.importorskip("jinja2", reason="the page needs Jinja2 (the station extra)")
pytest.importorskip("prometheus_client", reason="the page needs prometheus-client (the station extra)")

from edge_ad.bundle.drift import open_drift
from edge_ad.bundle.file import Bundle
from edge_ad.bundle.roi import open_roi
from edge_ad.monitor.monitor import Monitor
from edge_ad.monitor.pair import side_by_side
from edge_ad.monitor.sequential import Rate
from edge_ad.monitor.statistics import Gauge
from edge_ad.spec import REFERENCE
from edge_ad.station.config import load_config
from edge_ad.station.journal import KEPT
from edge_ad.station.page import priority
from edge_ad.station.page.auth import read_token
from edge_ad.station.page.texts import tables
from edge_ad.station.pictures import to_png
from edge_ad.station.station import Station
from tests.demo.browser import WAIT_S, chromium
from tests.paths import ROOT
from tests.station.making import rows, wait_for, write_config
from tests.station.page.staged import TOKENS, Staged, alarm, served
from tests.tiny import bad_frame, good_frame

SCREENSHOTS = os.environ.get("EDGE_AD_SCREENSHOTS")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def address(browser: Any, staged: Staged) -> Iterator[str]:
    with served(staged) as found:
        yield found
        browser.get("about:blank")  # which asks a server that is gone for nothing


class Operator:
    """A person at the screen. Signs in."""

    def __init__(self, browser: Any, address: str, role: str = "operator", token: str = "") -> None:
        self.browser, self.address = browser, address
        self.size(1280, 800)
        browser.get_log("browser"), browser.get_log("performance")  # those of the tests before
        browser.get(f"{address}/login")
        browser.delete_all_cookies()
        browser.execute_script("localStorage.clear()")
        browser.get(f"{address}/")  # leads to the form
        self.one("input[name=token]").send_keys(token or TOKENS[role])
        self.one("main button").click()
        self.until(lambda: self.all("article.tile"))

    def size(self, width: int, height: int) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def go(self, path: str) -> None:
        self.browser.get(self.address + path)

    def all(self, selector: str) -> list[Any]:
        return list(self.browser.find_elements("css selector", selector))

    def one(self, selector: str) -> Any:
        return self.until(lambda: self.all(selector))[0]

    def text(self, selector: str = "body") -> str:
        told = "return Array.from(document.querySelectorAll(arguments[0]), each => each.innerText).join(' ')"
        return " ".join(str(self.browser.execute_script(told, selector)).split())

    def script(self, text: str, *values: Any) -> Any:
        return self.browser.execute_script(f"return {text}", *values)

    def until(self, done: Callable[[], Any]) -> Any:
        from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
        from selenium.webdriver.support.ui import WebDriverWait

        ignored = [StaleElementReferenceException, WebDriverException]
        waiting = WebDriverWait(self.browser, WAIT_S, 0.05, ignored_exceptions=ignored)
        return waiting.until(lambda _: done(), f"it never came: {self.text()}")

    def press(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.browser).send_keys(*keys).perform()

    def focused(self) -> str:
        return str(self.script(f"({_NAME})(document.activeElement)"))

    def polls(self) -> int:
        return int(self.script("document.body.dataset.polls || 0"))

    def complains(self) -> list[str]:
        """Errors of the console, and addresses elsewhere, since the last call."""
        found = [str(entry) for entry in self.browser.get_log("browser") if entry["level"] == "SEVERE"]
        asked = set()
        for entry in self.browser.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
                asked.add(message["params"].get("request", message["params"])["url"])
        assert any(each.startswith(self.address) for each in asked)  # the log is one
        return found + sorted(each for each in asked if not each.startswith((self.address, "data:", "chrome:")))


# The name that a screen reader says of a control: the shortest form of what accname asks for.
_NAME = """element => {
  const told = element.getAttribute("aria-label") || (element.labels && element.labels.length
    ? Array.from(element.labels, each => each.innerText).join(" ") : "") || element.innerText || element.title || "";
  return told.replace(/\\s+/g, " ").trim();
}"""
_CONTROLS = "a, button, input:not([type=hidden]), select, summary"
_SEEN = "each => each.checkVisibility() && !each.closest('.unseen')"


def test_live_goes_on_by_itself(browser: Any, address: str, staged: Staged) -> None:
    me = Operator(browser, address)
    assert "FAULT" in me.text("[data-tile='1']")
    staged.inspect([("top", "K2-0100", good_frame(1001))])
    me.until(lambda: "K2-0100" in me.text("[data-tile='0'] header") and "GOOD" in me.text("[data-tile='0'] .word"))
    shown = me.script("document.querySelector(\"[data-tile='0'] img.frame\").getAttribute('src')")
    assert shown == "/live/top/9.jpg"
    staged.inspect([("top", "K2-0101", bad_frame(2001))])
    me.until(lambda: "REJECT" in me.text("[data-tile='0'] .word"))
    assert me.script("document.querySelector(\"[data-tile='0'] img.frame\").getAttribute('src')") == "/live/top/10.jpg"
    assert me.script("document.querySelector(\"[data-tile='0'] img.heat\").naturalWidth") == 64
    me.until(lambda: "top: REJECT, part K2-0101" in me.text("#say"))
    assert me.complains() == []


def test_a_station_that_is_gone_is_not_shown_as_live(browser: Any, address: str, staged: Staged) -> None:
    me = Operator(browser, address)
    me.until(lambda: me.polls() > 0)
    assert me.text("#offline") == ""
    staged.ended = True
    me.until(lambda: "No connection to the station" in me.text("#offline"))
    assert "off" in me.script("document.body.className")
    me.until(lambda: me.script("getComputedStyle(document.querySelector('.guard')).visibility") == "visible")
    staged.ended = False
    me.until(lambda: me.text("#offline") == "")
    assert me.script("getComputedStyle(document.querySelector('.guard')).visibility") == "hidden"


def test_a_hidden_tab_asks_for_nothing(browser: Any, address: str) -> None:
    me = Operator(browser, address)
    me.until(lambda: me.polls() > 0)
    first = browser.current_window_handle
    hide = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});"
    tell = "document.dispatchEvent(new Event('visibilitychange'))"
    browser.execute_script(hide % "true" + tell)
    before = me.polls()
    time.sleep(2.5)  # there is nothing to wait for: nothing is to happen
    assert me.polls() <= before + 1  # one may have been under way
    before = me.polls()
    browser.execute_script(hide % "false" + tell)
    me.until(lambda: me.polls() > before)
    assert browser.current_window_handle == first


def test_labels_by_click_and_by_key(browser: Any, address: str, staged: Staged) -> None:
    from selenium.webdriver.common.keys import Keys

    def label() -> str:
        return staged.rows("number = 5")[0].label

    me = Operator(browser, address)
    me.go("/parts/top/5")
    me.one(".labels button[value=defect]").click()
    me.until(lambda: label() == "defect" and "True reject" in me.text(".labels .badge"))
    for key, wanted, text in (("1", "good", "False reject"), ("3", "unsure", "Unsure"), ("4", "", "no label")):
        me.until(lambda: me.script("document.readyState") == "complete")
        me.press(key)
        me.until(lambda wanted=wanted, text=text: label() == wanted and text in me.text(".labels .badge"))
    me.press(Keys.ARROW_LEFT)
    me.until(lambda: "K2-0006" in me.text("h1"))
    me.press(Keys.ARROW_RIGHT)
    me.until(lambda: "K2-0005" in me.text("h1"))

    me.go("/parts")  # newest first: 7, 6, 5
    me.one(".card a")
    browser.execute_script("document.querySelector('.card a').focus()")
    me.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, "1")
    me.until(lambda: label() == "good" and me.text("#say") == "Saved: False reject")
    assert me.text(".card:nth-child(3) .badge") == "False reject"
    me.press(Keys.ARROW_LEFT, "2")
    me.until(lambda: staged.rows("number = 6")[0].label == "defect")
    me.one("input[name=part]").send_keys("0005", Keys.ENTER)
    me.until(lambda: len(me.all(".card")) == 1)
    assert me.one("input[name=part]").get_attribute("value") == "0005"
    me.one("input[name=part]").send_keys("4")  # a key that is typed labels nothing
    assert label() == "good"
    me.one(".card a").click()
    me.until(lambda: "K2-0005" in me.text("h1"))
    assert me.complains() == []


def test_the_heat_fades_and_is_remembered(browser: Any, address: str, staged: Staged) -> None:
    from selenium.webdriver.common.keys import Keys

    me = Operator(browser, address)
    heat = "getComputedStyle(document.querySelector('img.heat')).opacity"
    assert me.script(heat) == "0.7"
    me.one("[data-tile='0'] .opacity").send_keys(Keys.HOME)
    assert me.script(heat) == "0"
    me.one("[data-tile='0'] .opacity").send_keys(*[Keys.ARROW_RIGHT] * 4)
    assert me.script(heat) == "0.2"
    me.go("/parts/top/5")
    me.one(".opacity")
    assert me.script(heat) == "0.2"
    assert me.one(".opacity").get_attribute("value") == "20"


def test_alarms_are_acknowledged(browser: Any, address: str, staged: Staged) -> None:
    staged.told["alarms"] = [alarm("lost:side", "no answer for 5 s", active=False), alarm("disk", "it is full")]
    me = Operator(browser, address)
    assert "Camera lost side" in me.text(".alarms")
    me.go("/parts")  # it stays on every page
    assert "Camera lost side" in me.text(".alarms")
    me.one(".alarms button").click()
    me.until(lambda: "Camera lost" not in me.text(".alarms"))
    assert "/parts" in browser.current_url
    me.one(".alarms button").click()
    me.until(lambda: "acknowledged" in me.text(".alarms"))
    assert me.all(".alarms button") == []
    staged.told["alarms"] = [alarm("link", "no answer")]  # a new one comes by itself
    me.until(lambda: "PLC not connected" in me.text(".alarms"))
    assert me.complains() == []


def test_drift_comes_by_itself_and_is_renewed(browser: Any, address: str, staged: Staged) -> None:
    path = staged.data / "drift/top/20261129T180752Z-brightness.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(to_png(side_by_side(good_frame(1000), good_frame(1001) // 2, 255)))
    me = Operator(browser, address)
    me.go("/camera/top")
    assert "Brightness" in me.text("#drift .ok")
    staged.drift(0, picture=path.relative_to(staged.data).as_posix())
    me.until(lambda: "below the reference" in me.text("#drift .bad"))
    assert "Drift: Brightness is below the reference top" in me.text(".alarms")
    loaded = "Array.from(document.images).every(each => each.naturalWidth > 0)"
    me.until(lambda: me.all("#drift figure img") and me.script(loaded))
    for theme in ("dark", "light"):
        me.go(f"/camera/top?theme={theme}&lang=de")
        me.until(lambda: me.script(loaded))
        assert "Die Lampe altert" in me.text("#drift .bad")
        assert len(me.all("#drift .band")) == len(me.all("#drift .bar")) == 3
        assert me.script(_CONTRAST) == []
    me.go("/?theme=auto&lang=en")
    me.one(".alarms a").click()
    me.until(
        lambda: me.all("#drift") and me.script("document.querySelector('#drift').getBoundingClientRect().top < 800")
    )
    summary, sure = me.one("#drift summary"), me.one("#drift form button")
    assert not sure.is_displayed()
    summary.click()
    polls = me.polls()
    me.until(lambda: me.polls() > polls)  # which leaves it open
    sure.click()
    me.until(lambda: staged.commands and "/camera/top" in browser.current_url)
    assert staged.commands[0][0] == "renew_drift"
    assert me.complains() == []


def test_language_and_colours(browser: Any, address: str) -> None:
    me = Operator(browser, address)
    words = tables()["texts"]
    for code in ("de", "ko", "ja", "en"):
        me.one(".menu summary").click()
        me.one(f".menu a[hreflang={code}]").click()
        me.until(lambda code=code: me.script("document.documentElement.lang") == code)
        assert words["nav_parts"][code] in me.text("nav")
        me.until(lambda: me.polls() > 0)
        assert words["outcome_reject"][code] in me.text("[data-tile='0'] .word")
    back = "getComputedStyle(document.body).backgroundColor"
    seen = set()
    for theme in ("dark", "light"):
        me.go(f"/?theme={theme}")
        seen.add(me.script(back))
        me.go("/parts")
        assert me.script("document.documentElement.dataset.theme") == theme
    assert len(seen) == 2
    me.go("/?theme=auto")
    for theme in ("dark", "light"):
        told = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", told)
        seen.add(me.script(back))
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert len(seen) == 2
    assert me.complains() == []


def test_keyboard_alone(browser: Any, address: str, staged: Staged) -> None:
    """From the first tab to a label, without a mouse; the focus is seen at each step."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    me = Operator(browser, address)
    me.go("/")
    me.press(Keys.TAB)
    assert me.focused() == "Skip to the content"
    walked = []
    for _ in range(10):
        me.press(Keys.TAB)
        walked.append(me.focused())
        seen = me.script("getComputedStyle(document.activeElement).outlineStyle")
        assert seen != "none", walked
    assert walked[:4] == ["Live", "Parts", "Learning", "Settings"]
    assert "Details of camera top" in walked
    assert "Strength of the heat over the picture, camera top" in walked
    browser.execute_script("document.querySelector('.menu summary').focus()")
    me.press(Keys.ENTER)
    me.until(lambda: me.all(".menu[open]"))
    me.press(Keys.ESCAPE)
    me.until(lambda: not me.all(".menu[open]"))
    assert me.focused() == "Settings"
    ActionChains(browser).key_down(Keys.SHIFT).send_keys(Keys.TAB, Keys.TAB).key_up(Keys.SHIFT).perform()
    assert me.focused() == "Parts"
    me.press(Keys.ENTER)
    card = me.one(".card a")
    for _ in range(20):
        me.press(Keys.TAB)
        if browser.switch_to.active_element == card:
            break
    me.press(Keys.ENTER)
    me.until(lambda: "K2-0007" in me.text("h1"))
    me.press("2")
    me.until(lambda: staged.rows("number = 7")[0].label == "defect")


def test_names_sizes_and_contrast(browser: Any, address: str, staged: Staged) -> None:
    """Every control has a name, and is large enough for a thumb; text is told from what is behind it (WCAG AA)."""
    staged.told["alarms"] = [alarm("lost:side", "no answer"), alarm("disk", "full", active=False)]
    staged.told["cameras"][1] |= {"ready": False, "why": "lost", "drops": 2}
    staged.drift(0)
    me = Operator(browser, address)
    for theme in ("light", "dark"):
        for path in ("/", "/parts", "/parts/top/5", "/camera/top", "/learn"):
            me.go(f"{path}?theme={theme}")
            me.one("main")
            told = me.script(
                f"Array.from(document.querySelectorAll({_CONTROLS!r})).filter({_SEEN}).map(each =>"
                f" [each.outerHTML.slice(0, 120), ({_NAME})(each),"
                " each.getBoundingClientRect().height, each.getBoundingClientRect().width])"
            )
            assert [html for html, name, _, _ in told if not name] == [], path
            small = [
                html for html, _, height, _ in told if height < 44 and "/parts/" not in html and "/camera/" not in html
            ]
            assert [html for html in small if "skip" not in html] == [], path
            assert me.script(_CONTRAST) == [], (path, theme)
            pictures = "Array.from(document.images).filter(each => each.getAttribute('alt') === null).length"
            assert me.script(pictures) == 0
            wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert me.script(wide) <= 0
    for size in ((800, 600), (1280, 800), (1920, 1080), (390, 800)):
        me.size(*size)
        for path in ("/", "/parts", "/parts/top/5", "/camera/top", "/learn"):
            me.go(path)
            assert me.script(wide) <= 0, (size, path)
    me.size(1280, 800)
    me.go("/?theme=auto")
    assert me.script("document.documentElement.scrollHeight - innerHeight") <= 0  # the live view needs no scrolling


# Texts whose contrast with the nearest opaque ground is below 4.5, or 3 where they are large.
_CONTRAST = """(() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const parse = colour => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return Array.from(canvas.getImageData(0, 0, 1, 1).data);
  };
  const light = colour => {
    const [r, g, b] = colour.map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walk.nextNode());) {
    const element = node.parentElement;
    if (!node.textContent.trim() || !element.checkVisibility() || element.closest(".unseen, svg, .guard, .skip")) {
      continue;
    }
    let ground = element;
    while (ground && parse(getComputedStyle(ground).backgroundColor)[3] < 220) ground = ground.parentElement;
    const style = getComputedStyle(element);
    const both = [parse(style.color), parse(getComputedStyle(ground || document.body).backgroundColor)].map(light);
    const ratio = (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) found.push(`${node.textContent.trim()}: ${ratio.toFixed(2)}`);
  }
  return found;
})()"""


def test_a_viewer_cannot_press(browser: Any, address: str, staged: Staged) -> None:
    me = Operator(browser, address, "viewer")
    me.go("/parts/top/5")
    assert [button.is_enabled() for button in me.all(".labels button")] == [False] * 4
    me.press("1")
    me.go("/learn")
    assert [button.is_enabled() for button in me.all("section .line > form button")] == [False] * 2
    assert staged.commands == []


def test_a_foreign_part_id_does_nothing(browser: Any, address: str, staged: Staged) -> None:
    texts = ["<script>document.title='bad'</script>", '"><img src=x onerror="document.title=\'bad\'">', "\u202ekcab"]
    staged.inspect([("top", text, bad_frame(2000 + at)) for at, text in enumerate(texts)])
    me = Operator(browser, address)
    for path in ("/", "/parts", "/camera/top", "/parts/top/9", "/parts/top/10", "/parts/top/11"):
        me.go(path)
        me.until(lambda: me.polls() > 0)
        assert "bad" not in browser.title.split(" ")[0]
        assert len(me.all("img[src=x]")) == 0
    assert "\\u202ekcab" in me.text("h1")
    assert me.complains() == []


def test_a_station_that_runs(browser: Any, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way: a button triggers, the station inspects, its verdict is live, a key labels, an alarm stays."""
    monkeypatch.setattr(priority, "NICE", 0)
    page = '[station]\nhttp = "127.0.0.1:0"\n[retention]\ngood_sample = 1\n'
    config = load_config(write_config(place, 'trigger = "software"', page, source="synthetic:64x64"))
    station = Station(config)
    try:
        host = wait_for(lambda: station.page.host)
        address = wait_for(lambda: host.url).rstrip("/")
        me = Operator(browser, address, token=read_token(config.data / "tokens/operator"))
        me.until(lambda: "No part yet" in me.text("[data-tile='0'] header"))
        me.one("[data-tile='0'] form button").click()
        me.until(lambda: "page-" in me.text("[data-tile='0'] header"))
        (row,) = rows(config.path)
        assert {"good": "GOOD", "reject": "REJECT"}[row.outcome or ""] in me.text("[data-tile='0'] .word")
        me.until(lambda: me.script("document.querySelector('img.frame').naturalWidth") == 64)
        me.until(lambda: rows(config.path)[0].kept == KEPT)
        me.go("/parts/top/1")
        me.until(lambda: me.script("document.querySelector('img.frame').naturalWidth") == 64)
        me.press("3")
        me.until(lambda: rows(config.path)[0].label == "unsure")
        station.desk.event("top", "refused", "the bundle is damaged")
        me.until(lambda: "Bundle refused" in me.text(".alarms"))
        me.one(".alarms button").click()
        me.until(lambda: "acknowledged" in me.text(".alarms"))
        assert me.complains() == []
        browser.get("about:blank")
    finally:
        station.close()


@pytest.mark.skipif(not SCREENSHOTS, reason="EDGE_AD_SCREENSHOTS names no folder")
def test_the_pictures_of_the_documentation(browser: Any, tmp_path: Path) -> None:
    """Drawn cables before two cameras."""
    import cv2

    for command in (
        ["-m", "export.sample", "cable", str(tmp_path)],
        ["-m", "export", "cable", "--data", str(tmp_path), "--quick", "--out", str(tmp_path / "cable.bundle")],
    ):
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, *command], cwd=tmp_path, env=env, check=True, timeout=600)
    folder = tmp_path / "cable" / "test"
    goods, bads = [], []
    for path in sorted(folder.rglob("*.png")):
        (goods if path.parent.name == "good" else bads).append(cv2.imread(str(path)))
    staged = Staged(tmp_path / "data", ["top", "side"], tmp_path / "cable.bundle")
    parts = []
    for at in range(60):
        camera = ("top", "side")[at % 2]
        frame = bads[at * 7 % len(bads)] if at % 11 in (3, 7) else goods[at * 5 % len(goods)]
        parts.append((camera, f"K2-{47110 + at}", None if at == 31 else frame))
    staged.inspect(parts, seconds_ago=30, every_s=4)
    staged.told["alarms"] = [alarm("lost:side", "the camera did not answer for 5 s", active=False)]
    rejects = [row for row in staged.rows("outcome = 'reject'") if row.camera == "top"]
    for row, label in zip(rejects, ("defect", "good", "defect", "", "unsure"), strict=False):
        staged.command("label", camera=row.camera, part_id=row.part_id, label=label)
    with served(staged) as address:
        me = Operator(browser, address)

        def live(name: str, query: str) -> None:
            number = 47170 + len(staged.rows())
            staged.inspect([("side", f"K2-{number}", goods[0]), ("top", f"K2-{number + 1}", bads[2])], every_s=0.1)
            me.go(f"/?{query}")
            me.until(lambda: me.polls() > 0)
            _shoot(browser, tmp_path, name)

        live("light", "theme=light")
        live("dark", "theme=dark")
        me.go(f"/parts/top/{rejects[2].number}?theme=light")
        me.until(lambda: me.script("Array.from(document.images).every(each => each.naturalWidth > 0)"))
        _shoot(browser, tmp_path, "story")
        me.go("/parts")
        me.until(lambda: me.script("Array.from(document.images).slice(0, 18).every(each => each.naturalWidth > 0)"))
        _shoot(browser, tmp_path, "parts")
        _darken(staged, goods)
        me.go("/camera/top")
        me.until(lambda: me.polls() > 0)
        _shoot(browser, tmp_path, "camera")
        me.size(1280, 1400)  # all of the panel
        me.until(lambda: me.script("Array.from(document.images).every(each => each.naturalWidth > 0)"))
        _shoot(browser, tmp_path, "drift", me.one("#drift"))
        staged.told["alarms"] = staged.told["alarms"][:1]  # room for the parts
        me.size(800, 600)
        live("small", "lang=de")


def _darken(staged: Staged, goods: Sequence[Any]) -> None:
    """The lamp before the first camera fails: what is watched is measured in its frames, and one alarm comes of it."""
    with Bundle.open(staged.data.parent / "cable.bundle", points=(REFERENCE,)) as bundle:
        own, manifest = open_drift(bundle), bundle.manifest
        gauge = Gauge(manifest.frame, manifest.backbone, open_roi(bundle.sights()[0]))
    assert own is not None
    known = {name: values.astype(np.float64) for name, values in own.values.items()}
    monitor = Monitor(list(known), known, Rate(10_000, 1), 200)
    path = staged.data / "drift/top/20261129T180752Z-brightness.png"
    for at in range(200):
        frame = goods[at % len(goods)]
        now = frame if at < 100 else (frame * 0.8).astype(np.uint8)
        monitor.add(gauge.measure(now, None), True, time.time_ns())
    path.parent.mkdir(parents=True)
    path.write_bytes(to_png(side_by_side(own.then, now, 255)))
    for found in monitor.alarms:
        monitor.replace(replace(found, picture=path.relative_to(staged.data).as_posix()))
        staged.told["alarms"].append({**alarm(f"drift:top:{found.statistic}", found.text), "camera": "top"})
    told = {"reference": "export", "taken": None, "of": None, "statistics": monitor.state()}
    staged.told["cameras"][0]["drift"] |= told


def _shoot(browser: Any, folder: Path, name: str, element: Any = None) -> None:
    """A screenshot for docs/page.md: lines in 256 colours, which nobody sees; photographs as JPEG."""
    from PIL import Image

    save = browser.save_screenshot if element is None else element.screenshot
    save(str(folder / "page.png"))
    target = Path(str(SCREENSHOTS)) / f"page_{name}.{'png' if name == 'camera' else 'jpg'}"
    with Image.open(folder / "page.png") as shot:
        plain = shot.convert("RGB")
        if name == "camera":
            plain.quantize(256, dither=Image.Dither.NONE).save(target, optimize=True)
        else:
            plain.save(target, quality=72, optimize=True, progressive=True)
    assert target.stat().st_size < 150_000
