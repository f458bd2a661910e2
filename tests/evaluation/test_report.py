"""The report of an evaluation: one page that stands alone."""

from __future__ import annotations

import html.parser
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_ad.cli import main
from tests.evaluation.evaluating import evaluate, table


def test_without_matplotlib(
    category: Path, tmp_path: Path, golden: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert evaluate(golden, category, tmp_path) == 0
    assert "pip install 'edge-ad[report]'" in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()
    assert table(tmp_path)[0]["image_auroc"]


class Page(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("img", "meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_report_stands_alone(part: Path, tmp_path: Path, golden: Path, golden_roi: Path) -> None:
    pytest.importorskip("matplotlib")
    (part / "test/good/000.png").rename(part / "test/good/<b>&.png")
    out = tmp_path / "out"
    assert main(["eval", str(golden), str(golden_roi), "--data", str(part), "--out", str(out)]) == 0
    text = (out / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    page.close()
    assert not page.open
    assert all(source.startswith(("data:image/", "#s")) for source in page.sources)
    assert not {"script", "link", "iframe", "b>&.png"} & set(page.tags)
    assert not re.search(r"https?:|url\(|@import", text)
    assert "&lt;b&gt;&amp;.png" in text
    assert text.index("Misses") < text.index("False alarms") < text.index("Curves")
    for bundle in ("format-1", "format-1-roi"):
        for name in ("roc", "pr", "scores", "confusion"):
            image = cv2.imread(str(out / f"part/{bundle}/{name}.png"))
            assert image.shape[1] > 400
            assert len(np.unique(image)) > 10, "something is drawn"
