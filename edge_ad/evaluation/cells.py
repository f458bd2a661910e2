"""Cells of the table: a category and a bundle, with a folder for the results."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge_ad.bundle.file import Bundle
from edge_ad.data.labelled import LabelledSet
from edge_ad.errors import DatasetError, EdgeADError
from edge_ad.evaluation.grid import Backbone, Recipe
from edge_ad.evaluation.metrics_row import metrics_row
from edge_ad.evaluation.run import Key, Result, finished, inspect_all, saved
from edge_ad.spec import REFERENCE, Manifest
from edge_ad.system.progress import Counts

BUNDLES = "bundles"  # folder for the bundles that are made


@dataclass(frozen=True)
class Opened:
    """What is needed of a bundle after it was checked."""

    path: Path
    identity: str
    manifest: Manifest
    megabytes: float

    @classmethod
    def open(cls, path: Path) -> Opened:
        """Checks the whole bundle.

        Raises:
            BundleError: it cannot be used.
        """
        with Bundle.open(path) as bundle:
            return cls(path, bundle.id, bundle.manifest, path.stat().st_size / 1e6)


@dataclass(frozen=True)
class Cell:
    """A category and a bundle.

    Attributes:
        folder: for the results; it has the name of the bundle, for a reader.
        method, backbone: names for the table.
        path: the file of the bundle.
        recipe: how the bundle is made, if it is made here.
        bundle: None if there is none; then `error` says why.
        result: None if there is none yet, or if `error` says why there will be none.
    """

    labelled: LabelledSet
    folder: Path
    method: str
    backbone: str
    path: Path
    recipe: Recipe | None = None
    bundle: Opened | None = None
    result: Result | None = None
    error: str | None = None

    @property
    def title(self) -> str:
        """bottle with padim-resnet18."""
        return f"{self.labelled.name} with {self.folder.name}"

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for a reader."""
        if self.error is not None:
            return (f"failed: {self.error}",)
        return () if self.result is None else self.result.notes

    def opened(self) -> Cell:
        """The same cell with its bundle opened, or with the error. Unchanged if it has one of them already."""
        if self.bundle is not None or self.error is not None:
            return self
        try:
            return replace(self, bundle=Opened.open(self.path))
        except EdgeADError as error:
            return replace(self, error=str(error))

    def row(self) -> dict[str, Any]:
        """The row of the summary."""
        row: dict[str, Any] = {
            "category": self.labelled.name,
            "layout": self.labelled.layout,
            "method": self.method,
            "backbone": self.backbone,
            "bundle": self.path.name,
            "notes": "; ".join(self.notes),
        }
        if self.bundle is not None:
            row |= {"bundle_id": self.bundle.identity, "mb": self.bundle.megabytes}
        return row if self.result is None else {**(self.result.row or {}), **self.result.facts, **row}


def cells_of(
    labelled: LabelledSet,
    name: str,
    wanted: Sequence[tuple[str, Backbone]],
    options: Sequence[str],
    given: Sequence[Opened],
    out: Path,
    point: str | None = None,
) -> list[Cell]:
    """The cells of a category: first the bundles that are made from it, then those given.

    Args:
        name: unique name of its folder and its bundles.
        wanted: methods with backbones.
        options: options of the export.
        out: folder of the whole evaluation.
        point: operating point, if it is not the reference: it has separate folders.
    """
    titles = [(f"{method}-{backbone.title}", f"{method} {backbone.name}") for method, backbone in wanted]
    made = unique(titles)
    suffix = "" if point in (None, REFERENCE) else f"-{point}"
    folders = [
        out / name / f"{folder}{suffix}" for folder in unique([*titles, *((b.path.stem, str(b.path)) for b in given)])
    ]
    cells = []
    for (method, backbone), title, folder in zip(wanted, made, folders, strict=False):
        path = out / BUNDLES / f"{name}-{title}.bundle"
        cell = Cell(labelled, folder, method, backbone.title, path)
        if labelled.folder is None:
            error = DatasetError(
                "a CSV file names no images to export from",
                expected="the folder of a category",
                got=labelled.name,
                remedy="Run the export yourself, and give the bundle.",
            )
            cells.append(replace(cell, error=str(error)))
        else:
            cells.append(replace(cell, recipe=Recipe(labelled.folder, method, backbone, tuple(options))))
    for bundle, folder in zip(given, folders[len(wanted) :], strict=True):
        manifest = bundle.manifest
        cells.append(Cell(labelled, folder, manifest.head.method, manifest.backbone.name, bundle.path, bundle=bundle))
    return cells


def key_of(cell: Cell, options: Mapping[str, Any]) -> Key:
    """What the result of a cell depends on. The cell must have its bundle."""
    assert cell.bundle is not None
    return Key(cell.bundle.identity, cell.labelled.digest(), dict(options))


def known(cell: Cell, key: Key, *, from_maps: bool) -> Result | None:
    """The saved result of a cell; None if it must be inspected.

    Raises:
        EdgeADError: saved maps are wanted, and no fitting ones exist.
    """
    if not cell.labelled.images:
        assert cell.bundle is not None
        own = cell.bundle.manifest.calibration
        nothing = Result(key, {"threshold": own.threshold, "pixel_threshold": own.pixel_threshold}, (), ())
        row, notes = metrics_row(nothing, lambda size: None, False, cell.folder)
        return replace(nothing, row=row, notes=(*cell.labelled.notes, *notes))
    return saved(cell.folder, key) if from_maps else finished(cell.folder, key)


def inspect(cell: Cell, key: Key, progress: Counts) -> Result:
    """Inspects the images of a cell.

    Raises:
        EdgeADError: bundle or engine cannot be used.
    """
    return inspect_all(cell.path, cell.labelled, key, cell.folder, progress)


def unique(names: Iterable[tuple[str, str]]) -> list[str]:
    """Folder names of (name, path). If several paths share a name, digits of the path's digest are added.

    Raises:
        EdgeADError: a path is given twice.
    """
    pairs = [(re.sub(r"[^\w.-]+", "_", name).strip(".") or "_", path) for name, path in names]
    if double := sorted({path for _, path in pairs if [p for _, p in pairs].count(path) > 1}):
        raise EdgeADError("a path is given twice", expected="each bundle and category once", got=", ".join(double))
    shared = [name.lower() for name, _ in pairs]
    return [
        f"{name}-{hashlib.blake2b(path.encode(), digest_size=3).hexdigest()}"
        if shared.count(name.lower()) > 1
        else name
        for name, path in pairs
    ]
