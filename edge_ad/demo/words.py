"""The words of the page, as HTML that loads nothing. Whatever comes from outside (names, errors) is escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from edge_ad.spec import Manifest
from edge_ad.verdict.verdict import Verdict, decimals

_WIDER = 1.25  # the scale of the score ends there, times the largest number on it

CSS = """
.edge-card { border-radius: 10px; padding: 12px 20px; color: #fff; background: #5b6670; }
.edge-card.good { background: #1b7f45; }
.edge-card.anomalous { background: #b3261e; }
.edge-card.refused { background: #8a5a00; }
.edge-top { display: flex; align-items: baseline; justify-content: space-between; gap: 24px; flex-wrap: wrap; }
.edge-word { font-size: 34px; font-weight: 700; letter-spacing: 0.02em; line-height: 1.15; color: #fff; }
.edge-numbers { font-size: 20px; font-variant-numeric: tabular-nums; color: #fff; }
.edge-numbers b { font-size: 26px; color: #fff; }
.edge-note { font-size: 15px; line-height: 1.4; color: #fff; overflow-wrap: anywhere; margin-top: 4px; }
.edge-scale { position: relative; height: 14px; margin: 10px 0 22px; border-radius: 7px; background: #ffffff40; }
.edge-score { position: absolute; left: 0; top: 0; bottom: 0; border-radius: 7px; background: #fff; }
.edge-mark { position: absolute; top: -4px; bottom: -4px; width: 4px; margin-left: -2px; background: #10151a; }
.edge-mark.bundle { background: #10151a70; }
.edge-mark span { position: absolute; top: 25px; font-size: 12px; line-height: 1; color: #fff; white-space: nowrap;
  left: 50%; transform: translateX(-50%); }
table.edge-facts { width: 100%; border-collapse: collapse; font-size: 13px; margin: 0; }
table.edge-facts td { padding: 2px 8px 2px 0; vertical-align: top; overflow-wrap: anywhere; }
table.edge-facts td:first-child { white-space: nowrap; opacity: 0.65; width: 1%; padding-right: 14px; }
.edge-title { font-size: 17px; } .edge-title b { font-size: 20px; margin-right: 10px; }
"""


def title(manifest: Manifest, file: str) -> str:
    """A line that says which bundle this is."""
    return (
        f'<div class="edge-title"><b>edge-ad demo: {escape(file)}</b>'
        f"{escape(manifest.name)}, {escape(manifest.head.describe())}, made {escape(manifest.created)}</div>"
    )


def nothing_yet(*, stacks: bool) -> str:
    """Before the first capture."""
    what = "the pictures of one stack" if stacks else "an image file"
    return _card("waiting", "No image yet", f"Choose a sample, or upload {what}.")


def refused(name: str, why: str) -> str:
    """There is no verdict, and why."""
    return _card("refused", "NO VERDICT", why if name in why else f"{name}: {why}")


def verdict_card(verdict: Verdict, own_threshold: float) -> str:
    """The verdict, the score, and both on a scale.

    Args:
        verdict: at the threshold of the page.
        own_threshold: the bundle's.
    """
    kind, sign = ("anomalous", "&ge;") if verdict.is_anomalous else ("good", "&lt;")
    digits = decimals(own_threshold) + 1
    if verdict.place is not None and not verdict.found:
        note = f"confidence {verdict.place.confidence:.2f}: such a frame is rejected at every threshold."
        return _card(kind, "NOT FOUND", note)
    numbers = (
        f'score <b id="edge-score">{verdict.score:.{digits}f}</b> {sign} threshold '
        f'<b id="edge-threshold">{verdict.threshold:.{digits}f}</b>'
    )
    return (
        f'<div class="edge-card {kind}" role="status"><div class="edge-top">'
        f'<div class="edge-word">{"ANOMALOUS" if verdict.is_anomalous else "GOOD"}</div>'
        f'<div class="edge-numbers">{numbers}</div></div>{_scale(verdict, own_threshold)}</div>'
    )


def facts_table(name: str, verdict: Verdict, own_threshold: float, manifest: Manifest) -> str:
    """What else is known of the verdict, a row each."""
    digits = decimals(own_threshold) + 1
    moved = verdict.threshold != own_threshold
    rows = [
        ("image", name),
        ("threshold", f"{own_threshold:.{digits}f} in the bundle" + (", another one on this page" if moved else "")),
        *_where(verdict),
        *_p_value(verdict, manifest),
        *([("part found", f"confidence {verdict.confidence:.2f}")] if verdict.confidence is not None else []),
        ("time", f"{verdict.latency_ms:.1f} ms, from pixels to verdict"),
        ("point", f"{verdict.point}: {verdict.engine}, {verdict.precision}, {verdict.search} search"),
        ("input", " and ".join("{} x {}".format(*sight.backbone.input_size) for sight in manifest.sights)),
        ("bundle", verdict.bundle),
    ]
    return _table(rows)


def _p_value(verdict: Verdict, manifest: Manifest) -> list[tuple[str, str]]:
    if verdict.p_value is None:
        return []
    held_out = len(manifest.at(verdict.point).calibration.good_scores)
    return [("p-value", f"{verdict.p_value:.3g}, from {held_out} held-out good images")]


def _where(verdict: Verdict) -> list[tuple[str, str]]:
    if not verdict.has_map:
        return [("regions", "this method judges the whole frame and gives no map")]
    found = verdict.regions
    if not found:
        return [("regions", "none")]
    boxes = ", ".join("{},{},{},{}".format(*region.box) for region in found[:3])
    return [("regions", f"{len(found)}; y0,x0,y1,x1: {boxes}" + (", ..." if len(found) > 3 else ""))]


def _scale(verdict: Verdict, own_threshold: float) -> str:
    end = _WIDER * max(verdict.score, verdict.threshold, own_threshold)
    near = abs(verdict.threshold - own_threshold) < 0.08 * end  # two words there would lie over one another
    return (
        f'<div class="edge-scale"><div class="edge-score" style="width:{100 * verdict.score / end:.2f}%"></div>'
        f"{_mark(own_threshold / end, '' if near else 'bundle', 'bundle')}"
        f"{_mark(verdict.threshold / end, 'threshold', '')}</div>"
    )


def _mark(at: float, word: str, kind: str) -> str:
    return f'<div class="edge-mark {kind}" style="left:{100 * at:.2f}%"><span>{word}</span></div>'


def _card(kind: str, word: str, note: str) -> str:
    return (
        f'<div class="edge-card {kind}" role="status"><div class="edge-word">{escape(word)}</div>'
        f'<div class="edge-note">{escape(note)}</div></div>'
    )


def _table(rows: Iterable[tuple[str, str]]) -> str:
    inside = "".join(f"<tr><td>{escape(name)}</td><td>{escape(text)}</td></tr>" for name, text in rows)
    return f'<table class="edge-facts">{inside}</table>'
