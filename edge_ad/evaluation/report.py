"""One self-contained HTML page: misses and false alarms first, then curves, metrics with intervals, bundle facts.

Images are embedded. The page has no script and no link to the network, so it works offline and can be sent by mail.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import cv2

from edge_ad.errors import EdgeADError
from edge_ad.evaluation.page import STYLE
from edge_ad.evaluation.pictures import Style, fitted, look, outlined, overlay, side_by_side, worst_defects, worst_good
from edge_ad.evaluation.run import Inspected, Result
from edge_ad.evaluation.summary import SHOWN, Row, names_of, shown
from edge_ad.spec import FrameSpec

_BOX_PX = (300, 400)  # largest (H, W) of a picture in the page
_QUALITY = 85
_DETAILS = ("ms_p95", "ms_p99")  # not in the overview
_FEWEST = 6  # images that are shown if fewer are wrong
_CURVES = {
    "scores": "Scores of good images and defects, and the threshold",
    "confusion": "Confusion matrix",
    "roc": "ROC curve",
    "pr": "Precision and recall",
}


@dataclass(frozen=True)
class Section:
    """A category and a bundle.

    Attributes:
        row: row of the summary.
        result: scores and maps; `folder` holds the maps. None if there is no result; the notes say why.
        notes: notes for a reader.
        facts: facts about the bundle, for a reader.
        curves: name -> PNG.
        frame: what the bundle's frames are.
    """

    row: Row
    result: Result | None
    notes: Sequence[str]
    folder: Path
    facts: Mapping[str, str]
    curves: Mapping[str, bytes]
    frame: FrameSpec


def make_report(sections: Sequence[Section], machine: Mapping[str, str], when: str, style: Style) -> str:
    """The page as text."""
    titles = [f"{s.row['category']}, {s.row['method']} {s.row['backbone']}" for s in sections]
    title = titles[0] if len(sections) == 1 else f"{len(sections)} evaluations"
    body = [
        f"<header><h1>Evaluation: {escape(title)}</h1>",
        f"<p class=faint>{escape(when)}, edge-ad {escape(machine['edge_ad'])} on {escape(machine['cpu'])}</p></header>",
    ]
    if len(sections) > 1:
        body.append(_overview([section.row for section in sections]))
    for n, section in enumerate(sections):
        body += _section(section, n, style, alone=len(sections) == 1)
    body.append(f"<section><details><summary>This machine</summary>{_facts(machine)}</details></section>")
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>edge-ad: {escape(title)}</title><style>{STYLE}</style></head>"
    )
    return f"{head}\n<body><main>\n" + "\n".join(body) + "\n</main></body></html>\n"


def _overview(rows: Sequence[Row]) -> str:
    """A table of all sections. The best value of each category is bold."""
    names = names_of(rows)
    heads = "".join(f"<th>{escape(name)}</th>" for name in names)
    columns = [column for column in SHOWN if column[1] not in _DETAILS]
    heads += "".join(f"<th class=n>{escape(heading)}</th>" for heading, _, _ in columns)
    lines = []
    for n, row in enumerate(rows):
        rivals = [other for other in rows if other["category"] == row["category"]]
        link = f'<td><a href="#s{n}">{escape(str(row["category"]))}</a></td>'
        cells = [link, *(f"<td>{escape(str(row[name]))}</td>" for name in names[1:])]
        for _, column, better in columns:
            values = [r[column] for r in rivals if r.get(column) is not None]
            best = better is not None and len(values) > 1 and row.get(column) == better(values)
            text = escape(shown(column, row))
            cells.append(f"<td class=n>{f'<b>{text}</b>' if best else text}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return f"<section class=overview><h2>Overview</h2><div class=wide>{table}</div></section>"


def _section(section: Section, n: int, style: Style, *, alone: bool) -> Iterable[str]:
    row = section.row
    yield f'<section id="s{n}">'
    if not alone:
        yield f"<h2>{escape(str(row['category']))}<small>{escape(_what(row))}</small></h2>"
    if section.result is not None and section.result.images:
        yield _tiles(row)
    if section.notes:
        yield f"<ul class=notes>{''.join(f'<li>{escape(note)}</li>' for note in section.notes)}</ul>"
    if section.result is not None and section.result.images:
        yield from _found(section, section.result, style)
    if section.facts:
        yield f"<details><summary>The bundle</summary>{_facts(section.facts)}</details>"
    yield "</section>"


def _found(section: Section, result: Result, style: Style) -> Iterable[str]:
    """Images, curves and metrics."""
    yield from _images(section, result, style)
    if section.curves:
        yield "<h3>Curves</h3><div class=curves>"
        for name, alt in _CURVES.items():
            if name in section.curves:
                yield f'<img alt="{alt}" src="{_uri("png", section.curves[name])}">'
        yield "</div>"
    yield f"<h3>Metrics</h3><div class=wide>{_metrics(section.row)}</div>"


def _what(row: Row) -> str:
    return f"{row['method']}, {row['backbone']}, {row['bundle']}"


def _tiles(row: Row) -> str:
    """The most important numbers."""
    wrong = {"miss": row["fn"], "false_reject": row["fp"]}
    tiles = [
        ("defects missed", shown("miss", row), _interval(row, "miss"), wrong["miss"]),
        ("good images rejected", shown("false_reject", row), _interval(row, "false_reject"), wrong["false_reject"]),
        ("image AUROC", shown("image_auroc", row), "", 0),
        ("AU-PRO at FPR 0.30", shown("au_pro_30", row), "", 0),
        ("ms per frame", shown("ms_p50", row), f"p99 {shown('ms_p99', row)}, without reading the file", 0),
    ]
    cells = (
        f"<div{' class=bad' if count else ''}><span>{name}</span><strong>{escape(value)}</strong>"
        f"<small>{escape(more)}</small></div>"
        for name, value, more, count in tiles
    )
    return f"<div class=tiles>{''.join(cells)}</div>"


def _interval(row: Row, rate: str) -> str:
    if row[rate] is None:
        return ""
    return f"{row[rate]:.1%}, 95% {row[f'{rate}_low']:.1%} to {row[f'{rate}_high']:.1%}"


def _images(section: Section, result: Result, style: Style) -> Iterable[str]:
    for worst, all_wrong, of, right, wrong, kind in (
        (worst_defects(result), section.row["fn"], section.row["defects"], "caught", "missed", "defects"),
        (worst_good(result), section.row["fp"], section.row["goods"], "passed", "false alarm", "good images"),
    ):
        if not worst:
            continue
        end = "lowest" if kind == "defects" else "highest"
        heading = "Misses" if kind == "defects" else "False alarms"
        shown_images = worst[: max(_FEWEST, all_wrong)]
        which = f"{all_wrong} of {of} {kind}; the {len(shown_images)} with the {end} scores"
        yield f"<h3>{heading}<small>{which}</small></h3>"
        yield "<div class=pictures>"
        for image in shown_images:
            yield _figure(section, result, image, style, (right, wrong))
        yield "</div>"


def _figure(section: Section, result: Result, image: Inspected, style: Style, words: tuple[str, str]) -> str:
    threshold = section.row["threshold"]
    is_wrong = (image.score < threshold) == (image.defect is not None)
    caption = (
        f"<b class={'bad' if is_wrong else 'fine'}>{words[is_wrong]}</b> {escape(image.name)}<br>"
        f"<span class=faint>score {image.score:.4g}, {image.score / threshold:.0%} of the threshold</span>"
    )
    try:
        seen = look(image, section.folder, result.facts["pixel_threshold"], section.frame, style)
    except EdgeADError as error:
        return f"<figure><figcaption>{caption}<br>no picture: {escape(str(error))}</figcaption></figure>"
    seen = fitted(seen, _BOX_PX)  # before drawing, so that outlines have the same width in every picture
    parts = [outlined(seen.image, seen.mask)]
    if seen.heat is not None:
        parts.append(overlay(seen.image, seen.heat, style))
    jpeg = cv2.imencode(".jpg", side_by_side(parts), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
    alt = f"{escape(image.name, quote=True)}: the image, its mask outlined, and its heat"
    return f'<figure><img alt="{alt}" src="{_uri("jpeg", jpeg)}"><figcaption>{caption}</figcaption></figure>'


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _metrics(row: Row) -> str:
    confusion = f"{row['tp']} caught, {row['fn']} missed, {row['fp']} false alarms, {row['tn']} passed"
    lines: list[tuple[str, str, str]] = [
        ("Images", f"{row['goods'] + row['defects']}", f"{row['goods']} good, {row['defects']} defects"),
        ("Image AUROC", shown("image_auroc", row), ""),
        ("Image AP", shown("image_ap", row), ""),
        ("Image F1-max", shown("image_f1_max", row), _at(row["f1_threshold"])),
        ("Pixel AUROC", shown("pixel_auroc", row), ""),
        ("Pixel AP", shown("pixel_ap", row), ""),
        ("AU-PRO, FPR up to 0.30", shown("au_pro_30", row), ""),
        ("AU-PRO, FPR up to 0.05", shown("au_pro_05", row), ""),
        ("SegF1", shown("seg_f1", row), f"{_at(row['pixel_threshold'])}, from good images only"),
        ("Miss rate", _percent(row["miss"]), _interval(row, "miss").partition(", ")[2]),
        ("False reject rate", _percent(row["false_reject"]), _interval(row, "false_reject").partition(", ")[2]),
        ("Verdicts", f"{row['tp'] + row['tn']} right", f"{confusion}; {_at(row['threshold'])}"),
        ("ms p50", shown("ms_p50", row), f"{row['engine']} {row['precision']}, search {row['search']}, "
         f"{row['threads']} threads"),
        ("ms p95, p99", f"{shown('ms_p95', row)}, {shown('ms_p99', row)}", "one frame after another"),
        ("Bundle, MB", shown("mb", row), ""),
    ]  # fmt: skip
    cells = (f"<tr><th>{a}</th><td class=n>{escape(b)}</td><td class=faint>{escape(c)}</td></tr>" for a, b, c in lines)
    return f"<table class=metrics><tbody>{''.join(cells)}</tbody></table>"


def _at(threshold: float | None) -> str:
    return "" if threshold is None else f"at threshold {threshold:.4g}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _facts(facts: Mapping[str, Any]) -> str:
    return f"<dl>{''.join(f'<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>' for k, v in facts.items())}</dl>"
