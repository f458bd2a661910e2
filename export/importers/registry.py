"""The tools whose models can become bundles: a line for each, and a module that reads its files."""

from __future__ import annotations

import importlib
import itertools
from pathlib import Path

from edge_ad.errors import SpecError
from edge_ad.registry import one_of
from export.importers.base import Asked, Format, Imported

FORMATS = {
    "patchcore-inspection": "export.importers.patchcore_inspection",
    "anomalib": "export.importers.anomalib_checkpoint",
    "anomalib in ONNX": "export.importers.anomalib_onnx",
    "anomalib in OpenVINO IR": "export.importers.anomalib_ir",
    "normal_embed.json": "export.importers.normal_embed_file",
}

_DEPTHS = ("*", "*/*", "*/*/*")  # of a folder that anomalib trains into, down to weights/onnx/model.onnx
_MOST_FILES, _SHOWN = 200, 3


def format_of(path: Path) -> Format:
    """The format of a file or folder, by its content.

    Raises:
        SpecError: it is not there, cannot be read, or no format is recognised.
    """
    if not path.exists():
        raise SpecError(f"there is no {path}", expected="the file or folder of a trained model", got="nothing")
    formats: list[Format] = [importlib.import_module(module).FORMAT for module in FORMATS.values()]
    if (found := _claimed(formats, path)) is not None:
        return found
    there = _inside(formats, path) if path.is_dir() else []
    remedy = f"Models of {one_of(tuple(FORMATS))} can be imported: see docs/importers.md."
    raise SpecError(
        f"{path} is of no known tool",
        expected="; or ".join(f"of {each.title}: {each.files}" for each in formats),
        got=_described(path),
        remedy=f"Name the file: {' or '.join(map(str, there))}." if there else remedy,
    )


def _claimed(formats: list[Format], path: Path) -> Format | None:
    return next((each for each in formats if each.claims(path)), None)


def _inside(formats: list[Format], folder: Path) -> list[Path]:
    """Files of a folder, and of the folders in it, that are of a tool: what was meant."""
    files = itertools.islice((path for depth in _DEPTHS for path in folder.glob(depth) if path.is_file()), _MOST_FILES)
    return [path for path in sorted(files) if _claimed(formats, path) is not None][:_SHOWN]


def _described(path: Path) -> str:
    """What a file is that no tool claims, as far as its begin tells it.

    Raises:
        SpecError: it cannot be read.
    """
    if path.is_dir():
        return "a folder without those"
    if not path.is_file():
        return "a device or a pipe"
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise SpecError(f"cannot read {path}", expected="the file of a trained model", got=error.strerror) from error
    if not start:
        return "an empty file"
    kinds = {
        b"PK": "a ZIP that is not whole, or of another tool",
        b"\x80": "a pickle of another name",
        b"<": "another XML",
    }
    return next((text for begin, text in kinds.items() if start.startswith(begin)), f"another file, {start[:8]!r}...")


def read_model(path: Path, asked: Asked) -> Imported:
    """What a trained model is to become.

    Raises:
        EdgeADError: it is of no known tool, broken, or holds what no bundle can.
    """
    return format_of(path).read(path, asked)
