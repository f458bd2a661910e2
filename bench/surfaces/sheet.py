"""Pictures to look at: contact sheets of captures, reconstructions and maps; detection by depth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bench.surfaces.captures import DEPTHS
from bench.surfaces.figures import LINES
from edge_ad.frames.photometric.normal_map import to_frame
from edge_ad.frames.picture import to_u8
from edge_ad.system.files import write_output

EXAMPLES = (("good", 0.0), ("scratch", 0.5), ("dent", 1.0), ("bump", 1.0), ("pit", 1.0), ("wear", 1.0))
_TILE, _BAR, _LARGEST = 150, 16, 200_000
_COLOURS = ((40, 40, 40), (0, 140, 0), (220, 90, 0), (0, 0, 210), (190, 0, 170), (0, 170, 220), (150, 110, 60))


def sheet(folder: Path, methods: Sequence[str]) -> Any:
    """(H, W, 3) u8: a row for each example: normals, defect, reconstruction if there is one, the map of each method."""
    kept = {method: np.load(folder / f"{method}.npz") for method in methods if (folder / f"{method}.npz").exists()}
    first = next(iter(kept.values()))
    rows = []
    for number, (kind, depth) in enumerate(EXAMPLES):
        normals, defect = first["normals"][number], first["defects"][number]
        cells = [(f"{kind} {depth:g} px" if depth else kind, normal_picture(normals))]
        cells.append(("defect", cv2.cvtColor(255 * defect.astype(np.uint8), cv2.COLOR_GRAY2BGR)))
        for method, found in kept.items():
            if "repaired" in found:
                cells.append(("repaired", found["repaired"][number]))
            heat = np.clip(found["maps"][number] / (2 * float(found["tops"])) * 255, 0, 255).astype(np.uint8)
            cells.append((method, cv2.applyColorMap(heat, cv2.COLORMAP_INFERNO)))
        rows.append(np.hstack([_tile(*cell) for cell in cells]))
    return np.vstack(rows)


def normal_picture(normals: Any) -> Any:
    return to_u8(to_frame(np.ascontiguousarray(normals, np.float32)), 255)


def _tile(title: str, picture: Any) -> Any:
    scale = _TILE / max(picture.shape[:2])
    side = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    tile = np.full((_TILE + _BAR, _TILE, 3), 24, np.uint8)
    tile[_BAR : _BAR + side[1], : side[0]] = cv2.resize(picture, side, interpolation=cv2.INTER_AREA)
    cv2.putText(tile, title, (3, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (220, 220, 220), 1, cv2.LINE_AA)
    return np.pad(tile, ((1, 1), (1, 1), (0, 0)))


def depth_figure(rows: Sequence[Any]) -> Any:
    """(H, W, 3) u8: the share of scratches and dents found by depth, a plot for each way and set."""
    plots = {}
    for row in rows:
        plots.setdefault((row.way, row.name), []).append(row)
    methods = list(dict.fromkeys(row.method for row in rows))
    drawn = [_plot(f"{way}, {name}", own, methods) for (way, name), own in plots.items()]
    across = min(3, len(drawn))
    drawn += [np.full_like(drawn[0], 255)] * (-len(drawn) % across)
    return np.vstack([np.hstack(drawn[first : first + across]) for first in range(0, len(drawn), across)])


def _plot(title: str, rows: Sequence[Any], methods: Sequence[str]) -> Any:
    plot = np.full((266, 320, 3), 255, np.uint8)
    left, top, width, height = 40, 28, 260, 180

    def at(number: int, share: float) -> tuple[int, int]:
        return left + number * width // (len(DEPTHS) - 1), round(top + (1 - share) * height)

    def write(text: str, where: tuple[int, int], colour: tuple[int, int, int] = (60, 60, 60)) -> None:
        cv2.putText(plot, text, where, cv2.FONT_HERSHEY_SIMPLEX, 0.38, colour, 1, cv2.LINE_AA)

    write(title, (left, 16))
    for share in (0, 0.5, 0.95, 1):
        cv2.line(plot, at(0, share), at(len(DEPTHS) - 1, share), (225, 225, 225), 1)
        if share != 1:
            write(f"{share:.0%}", (4, at(0, share)[1] + 4))
    for number, depth in enumerate(DEPTHS):
        write(f"{depth:g}", (at(number, 0)[0] - 8, top + height + 16))
    for row in rows:
        colour = _COLOURS[methods.index(row.method) % len(_COLOURS)]
        points = [at(number, row.record.found(LINES, [depth])) for number, depth in enumerate(DEPTHS)]
        cv2.polylines(plot, [np.array(points, np.int32)], False, colour, 2, cv2.LINE_AA)
    for number, method in enumerate(methods):
        where = 8 + 78 * (number % 4), top + height + 34 + 15 * (number // 4)
        write(method, where, _COLOURS[number % len(_COLOURS)])
    return plot


def write_sheet(path: Path, picture: Any) -> None:
    """PATH.png to look at beside PATH.jpg of at most `_LARGEST` bytes."""
    for quality in range(90, 20, -6):
        data = cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, quality))[1].tobytes()
        if len(data) <= _LARGEST:
            break
    path.parent.mkdir(parents=True, exist_ok=True)
    write_output(path.with_suffix(".jpg"), [data])
