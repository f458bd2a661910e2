"""The words of the page: numbers as they are, and nothing from outside that a browser would take for HTML."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from edge_ad.demo.words import facts_table, nothing_yet, refused, title, verdict_card
from tests.bundle_maker import example_manifest
from tests.verdict.made import make_verdict

AMAP = np.zeros((8, 8), np.float32)


def shown(html: str) -> str:
    return re.sub(r"<[^>]*>", " ", html)


@pytest.mark.parametrize(("score", "word", "sign"), [(1.5, "ANOMALOUS", "&ge;"), (0.4, "GOOD", "&lt;")])
def test_the_card(score: float, word: str, sign: str) -> None:
    card = verdict_card(make_verdict(score, AMAP), 1.0)
    assert " ".join(shown(card).split()).startswith(f"{word} score {score:.3f} {sign} threshold 1.000")
    assert f'class="edge-card {word.lower()}"' in card


def test_the_scale_holds_both_thresholds() -> None:
    card = verdict_card(make_verdict(1.0, AMAP, threshold=4.0), 2.0)
    assert "width:20.00%" in card  # of the score, on a scale to 5
    assert re.findall(r"left:([\d.]+)%", card) == ["40.00", "80.00"]
    assert re.findall(r"<span>(\w*)</span>", card) == ["bundle", "threshold"]
    near = verdict_card(make_verdict(1.0, AMAP, threshold=2.1), 2.0)
    assert re.findall(r"<span>(\w*)</span>", near) == ["", "threshold"]


def test_small_scores_keep_their_digits() -> None:
    assert "0.00123" in verdict_card(make_verdict(0.00123, AMAP, threshold=0.002), 0.002)


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>.png", "\"'&"])
def test_names_and_errors_are_escaped(text: str) -> None:
    manifest = example_manifest()
    made = [
        refused(text, text),
        facts_table(text, make_verdict(1.5, AMAP), 1.0, manifest),
        title(replace(manifest, name=text), text),
    ]
    for html in made:
        assert text not in html
        assert not re.search(r"<(script|img)", html)


def test_it_loads_nothing() -> None:
    everything = nothing_yet(stacks=True) + refused("a", "b") + verdict_card(make_verdict(1.5, AMAP), 1.0)
    assert not re.search(r"src=|href=|url\(|@import|https?:", everything)
    from edge_ad.demo.words import CSS

    assert not re.search(r"url\(|@import|https?:", CSS)


def test_facts() -> None:
    manifest = example_manifest()
    amap = AMAP.copy()
    amap[2:4, 3:6] = 2.0
    text = shown(facts_table("a.png", make_verdict(1.5, amap), 1.0, manifest))
    assert "a.png" in text
    assert "1; y0,x0,y1,x1: 2,3,4,6" in " ".join(text.split())
    assert "none" in shown(facts_table("a.png", make_verdict(0.5, amap), 1.0, manifest))
    assert "gives no map" in facts_table("a.png", replace(make_verdict(0.5, amap), _render=None), 1.0, manifest)
