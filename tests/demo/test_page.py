"""The page in Chromium, offline: what a person sees and does, two tabs at once, and that nothing is sent.

``EDGE_AD_SCREENSHOT=docs/demo.png python -m pytest tests/demo/test_page.py -k documentation`` makes the picture of the
documentation: it draws cables, exports a bundle of them, and takes a minute.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_ad import Runtime
from edge_ad.verdict.verdict import decimals
from tests.demo.browser import HEIGHT, WAIT_S, WIDTH, Page, chromium, served
from tests.engines.test_quiet import CALLS, SENT, environment, written
from tests.frames.photometric.made import write_stack
from tests.paths import DATA, ROOT
from tests.stacks import stack
from tests.tiny import bad_frame, good_frame, picture

SCREENSHOT = os.environ.get("EDGE_AD_SCREENSHOT")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    for i in range(2):
        picture(folder / "good" / f"{i}.png", good_frame(1000 + i))
        picture(folder / "scratch" / f"{i}.png", bad_frame(2000 + i))
    (folder / "broken.png").write_text("not an image")
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def address(browser: Any, golden: Path, samples: Path) -> Iterator[str]:
    """Of the page of the golden bundle."""
    with served(golden, "--samples", samples, "--threads", 1) as (found, _):
        yield found


def decoded(url: str) -> np.ndarray:
    """(H, W, 3) u8 BGR of a PNG as a data URL."""
    found = cv2.imdecode(np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8), cv2.IMREAD_COLOR)
    assert found is not None
    return found


def test_a_person_inspects(browser: Any, address: str, golden: Path, samples: Path, tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    page = Page(browser, address)
    assert "No image yet" in page.text("#card")
    page.choose("scratch/1.png")
    verdict = Runtime(golden, threads=1).inspect(samples / "scratch" / "1.png")
    said = f"score {verdict.score:.4f} ≥ threshold {verdict.threshold:.4f}"
    assert page.text("#card").startswith(f"ANOMALOUS {said}")
    np.testing.assert_array_equal(decoded(page.pixels("picture")), bad_frame(2001))
    assert decoded(page.pixels("overlay")).shape == (64, 64, 3)
    overlay = page.pixels("overlay")
    assert overlay != page.pixels("picture")

    page.press_in_slider(Keys.END)  # a higher threshold: the same score is good
    page.until(lambda: page.text("#card").startswith("GOOD"))
    assert f"score {verdict.score:.4f} < threshold {3 * verdict.threshold:.4f}" in page.text("#card")
    assert f"{verdict.threshold:.4f} in the bundle, another one on this page" in page.text("#facts")
    page.until(lambda: page.pixels("overlay") != overlay)  # without an outline
    page.choose("good/0.png")
    assert page.text("#card").startswith("GOOD")
    page.press_in_slider(Keys.HOME)  # and a lower one makes a good part anomalous
    page.until(lambda: page.text("#card").startswith("ANOMALOUS"))

    page.choose("broken.png")
    assert "NO VERDICT" in page.text("#card")
    page.all("#threshold button")[0].click()  # back to the bundle's; it changes nothing here
    text = tmp_path / "notes 1,5.txt"
    text.write_text("not an image")
    page.upload(text)
    assert page.text("#card").startswith("NO VERDICT")
    assert not re.search("Traceback|GOOD|ANOMALOUS", page.text("body"))
    assert page.all("#picture img") == page.all("#overlay img") == []

    odd = picture(tmp_path / "größe 1.jpg", good_frame(1007))  # its very bytes are decoded, and by edge-ad
    page.upload(odd)
    found = Runtime(golden, threads=1).inspect(odd)
    assert page.text("#card").startswith(f"GOOD score {found.score:.4f} < threshold {found.threshold:.4f}")
    np.testing.assert_array_equal(decoded(page.pixels("picture")), cv2.imread(str(odd)))
    assert page.asked_elsewhere() == []
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_two_tabs_at_once(browser: Any, address: str, golden: Path, samples: Path) -> None:
    """Each shows its own image, whatever the other does meanwhile."""
    one = Page(browser, address)
    first = browser.current_window_handle
    one.choose("scratch/0.png")
    browser.switch_to.new_window("tab")
    try:
        other = Page(browser, address)
        other.choose("good/1.png")
        assert other.text("#card").startswith("GOOD")
        before = other.text("#card")
        browser.switch_to.window(first)
        assert one.text("#card").startswith("ANOMALOUS")
        one.choose("scratch/1.png")
        browser.switch_to.window(browser.window_handles[-1])
        assert other.text("#card") == before
    finally:
        if len(browser.window_handles) > 1:
            browser.switch_to.window(browser.window_handles[-1])
            browser.close()
        browser.switch_to.window(first)


def test_an_autoencoder(browser: Any, autoencoder: Path, samples: Path) -> None:
    with served(autoencoder, "--samples", samples, "--threads", 1) as (address, _):
        page = Page(browser, address)
        page.choose("scratch/1.png")
        shown = {name: decoded(page.pixels(name)) for name in ("picture", "overlay", "reconstruction", "heat")}
    assert {each.shape for each in shown.values()} == {(64, 64, 3)}
    assert len({each.tobytes() for each in shown.values()}) == 4


def test_a_stack_is_not_sent_on_and_not_left(browser: Any, tmp_path: Path) -> None:
    """The server under strace: it answers the browser, calls nobody, and its uploads are gone with it."""
    pictures = stack(3001, dent=True)
    files = sorted(write_stack(tmp_path / "part", list(pictures)).iterdir())
    verdict = Runtime(DATA / "format-4.bundle", threads=1).inspect(pictures)
    log = tmp_path / "calls"
    under = [
        shutil.which("strace") or "",
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-e",
        CALLS,
        "-e",
        "signal=none",
        "-o",
        str(log),
    ]
    watched = under[0] != "" and subprocess.run([*under, "true"], capture_output=True, timeout=60).returncode == 0
    own = {"under": under if watched else [], "env": environment(tmp_path)}
    with served(DATA / "format-4.bundle", "--threads", 1, **own) as (address, process):
        page = Page(browser, address)
        page.upload(*files[:4])
        assert "NO VERDICT" in page.text("#card")
        assert "expected 6" in page.text("#card")
        page.upload(*files)
        page.until(lambda: page.text("#card").startswith("ANOMALOUS"))
        assert f"score {verdict.score:.{decimals(verdict.threshold) + 1}f}" in page.text("#card")
        assert decoded(page.pixels("picture")).shape == (64, 64, 3)
        assert len(list((tmp_path / "tmp").rglob("05.png"))) == 1
        os.kill(int(log.read_text().split(maxsplit=1)[0]) if watched else process.pid, signal.SIGINT)
        assert process.wait(timeout=WAIT_S) == 130
        assert process.stderr.read().splitlines()[-1] == "interrupted"
    assert [*(tmp_path / "home").iterdir(), *(tmp_path / "tmp").iterdir(), *(tmp_path / "work").iterdir()] == []
    if not watched:
        pytest.skip("the rest is not watched: strace is not installed, or may not watch here")
    lines = [line.partition(" ")[2].strip() for line in log.read_text(errors="replace").splitlines()]
    calls = [line for line in lines if not re.search(r"= -1 (ENOENT|EEXIST)", line)]
    assert any("format-4.bundle" in call for call in calls)  # the log is one
    assert [call for call in calls if SENT.match(call) and not _answers(call)] == []
    assert written(calls, tmp_path) == []


def _answers(call: str) -> bool:
    """Whether this stays in the machine, or goes to a browser that has connected to us."""
    return "AF_UNIX" in call or (not call.startswith("connect(") and "sin_addr" not in call and "AF_INET" not in call)


@pytest.mark.skipif(not SCREENSHOT, reason="EDGE_AD_SCREENSHOT names no file")
def test_the_picture_of_the_documentation(browser: Any, tmp_path: Path) -> None:
    """Takes it of the drawn cables, in 256 colours, which halves it and nobody sees."""
    from PIL import Image

    for command in (
        ["-m", "export.sample", "cable", str(tmp_path)],
        ["-m", "export", "cable", "--data", str(tmp_path), "--quick", "--out", str(tmp_path / "cable.bundle")],
    ):
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, *command], cwd=tmp_path, env=env, check=True, timeout=600)
    with served(tmp_path / "cable.bundle", "--samples", tmp_path / "cable" / "test") as (address, _):
        page = Page(browser, address)
        page.choose("cut_insulation/006.png")
        page.choose("cut_insulation/006.png")  # the first frame takes longer than those after it
        page.until(lambda: page.text("#card").startswith("ANOMALOUS"))
        page.pixels("overlay")
        browser.save_screenshot(str(tmp_path / "page.png"))
    with Image.open(tmp_path / "page.png") as shot:
        assert shot.size == (WIDTH, HEIGHT)
        shot.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(str(SCREENSHOT), optimize=True)
    assert Path(str(SCREENSHOT)).stat().st_size < 300_000
