"""Categories and their bundles: what `edge-ad fleet eval` runs, and the table of all of it."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_ad.data.labelled import LabelledSet, load_labelled
from edge_ad.errors import EdgeADError
from edge_ad.evaluation.cells import unique
from edge_ad.evaluation.summary import COLUMNS
from edge_ad.system.processes import THREAD_VARIABLES, Task

_TEXTS = {"category", "layout", "method", "backbone", "bundle", "bundle_id", "point", "engine", "precision", "search"}
_WHOLE = {"goods", "defects", "failed", "tp", "fn", "fp", "tn", "threads"}


@dataclass(frozen=True)
class Evaluation:
    """A category and its bundles.

    Attributes:
        data: as it was given.
        out: folder of its results.
    """

    data: str
    labelled: LabelledSet
    bundles: tuple[Path, ...]
    out: Path

    @property
    def table(self) -> Path:
        """The table that the command writes."""
        return self.out / "summary.csv"

    def task(self, threads: int, options: Sequence[str]) -> Task:
        """The command that measures it: `edge-ad eval`, which knows by itself what it has done before."""
        command = [sys.executable, "-m", "edge_ad.cli", "eval", *map(str, self.bundles), "--data", self.data]
        command += ["--out", str(self.out), "--threads", str(threads), "--jobs", "1", "--no-report", *options]
        return Task(command, self.out / "eval.log", dict.fromkeys(THREAD_VARIABLES, str(threads)))


def evaluations_of(bundles: Path, categories: Sequence[str], out: Path) -> list[Evaluation]:
    """An evaluation of each category, with its bundles.

    Args:
        bundles: a bundle for all categories; or a folder, in which NAME.bundle and NAME/*.bundle are of the category
            NAME.
        categories: as `edge-ad eval` takes them.
        out: folder of all results.

    Raises:
        EdgeADError: there is no such category, it has no bundle, or one is given twice.
    """
    sets = [load_labelled(given) for given in categories]
    paths = [str(Path(given).absolute()) for given in categories]
    names = unique([(labelled.name, path) for labelled, path in zip(sets, paths, strict=True)])
    found = []
    for given, path, labelled, name in zip(categories, paths, sets, names, strict=True):
        own = [bundles] if bundles.is_file() else _bundles_in(bundles, name)
        data = path if Path(path).exists() else given
        found.append(Evaluation(data, labelled, tuple(each.absolute() for each in own), out.absolute() / name))
    return found


def _bundles_in(folder: Path, name: str) -> list[Path]:
    if not folder.is_dir():
        raise EdgeADError(
            f"there is no {folder}", expected="a bundle, or a folder of bundles", remedy="Check the path."
        )
    own = [folder / f"{name}.bundle", *sorted((folder / name).glob("*.bundle"))]
    found = [path for path in own if path.is_file()]
    if not found:
        raise EdgeADError(
            f"{folder} has no bundle of {name}",
            expected=f"{name}.bundle, or bundles in a folder {name}",
            got="neither",
            remedy="edge-ad fleet export makes such a folder.",
        )
    return found


def rows_of(evaluation: Evaluation, error: str | None) -> list[dict[str, Any]]:
    """The rows of the table that an evaluation wrote; if it wrote none, one for each bundle with the error."""
    if evaluation.table.is_file():
        with evaluation.table.open(encoding="utf-8", newline="") as file:
            return [_parsed(row) for row in csv.DictReader(file)]
    empty: dict[str, Any] = dict.fromkeys(COLUMNS)
    labelled = evaluation.labelled
    known = {**empty, "category": labelled.name, "layout": labelled.layout, "method": "-", "backbone": "-"}
    return [{**known, "bundle": bundle.name, "notes": f"failed: {error}"} for bundle in evaluation.bundles]


def _parsed(row: Mapping[str, str]) -> dict[str, Any]:
    """A row as `edge_ad.evaluation.summary` takes it."""
    parsed: dict[str, Any] = {}
    for name, text in row.items():
        if name in _TEXTS or name == "notes":
            parsed[name] = text
        else:
            parsed[name] = None if text == "" else int(text) if name in _WHOLE else float(text)
    return parsed
