"""What is to be inspected: a folder, a manifest or a URL, as a list that is the same whenever it is made.

A manifest is a text file with a path or URL a line (empty lines and lines that begin with # do not count), or a CSV,
JSONL or Parquet file with a column ``path`` and, if wanted, ``label``. Paths are relative to the folder, or the URL,
of the manifest.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from edge_ad.errors import EdgeADError, FrameError, SpecError
from edge_ad.fleet.remote import is_url, list_url, read_url
from edge_ad.fleet.tables import read_columns
from edge_ad.frames.image_file import HEAD_BYTES, image_kind
from edge_ad.frames.listing import empty_folders, has_image_name, list_image_tree, natural_key
from edge_ad.system.inputs import read_input
from edge_ad.system.names import storable

_MANIFESTS = (".txt", ".csv", ".jsonl", ".parquet")
_COLUMNS = ("path", "label")


@dataclass(frozen=True)
class WorkList:
    """The images, each once.

    Attributes:
        paths: absolute paths of files (of stacks, folders), or URLs.
        labels: what the manifest says of each; None where it says nothing.
        errors: folders that could not be listed.
        notes: for a reader.
    """

    paths: tuple[str, ...]
    labels: tuple[str | None, ...]
    errors: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def digest(self) -> str:
        """SHA-256 of paths and labels. The content of the images is not looked at: the rows hold a digest of it."""
        state = sha256()
        for path, label in zip(self.paths, self.labels, strict=True):
            state.update(ascii((path, label)).encode())  # with quotes and escapes, whatever the texts hold
        return state.hexdigest()


def list_work(given: str, *, stacks: bool = False) -> WorkList:
    """The images of a folder and its subfolders as `edge-ad inspect` lists them, those that a manifest names, or those
    below a URL.

    Args:
        given: path or URL, of a folder, a manifest or an image. A URL that ends as a manifest or an image is one.
        stacks: the bundle takes stacks: in a folder, each folder with pictures is one.

    Raises:
        EdgeADError: it cannot be read, or there is nothing to inspect.
    """
    if is_url(given):
        found = _at_url(given)
    elif os.path.isdir(given):
        found = _below_folder(Path(given), stacks=stacks)
    else:
        data = _read(given)
        is_image = image_kind(data[:HEAD_BYTES]) is not None
        found = WorkList((os.path.abspath(given),), (None,)) if is_image else _from_manifest(given, data)
    if not found.paths and not found.errors:
        raise FrameError(f"there are no images in {given}", expected="one or more", got="none")
    if stacks and any(map(is_url, found.paths)):
        raise SpecError(
            "the bundle takes stacks, which are folders",
            expected="paths of folders",
            got=next(filter(is_url, found.paths)),
            remedy="Copy them to a file system that each machine mounts.",
        )
    return found


def _below_folder(root: Path, *, stacks: bool) -> WorkList:
    root = root.absolute()
    try:
        images, errors = list_image_tree(root)
    except OSError as error:
        raise FrameError(f"cannot read the folder {root}", got=error.strerror or error) from error
    if stacks:
        images = [*dict.fromkeys(image.parent for image in images), *empty_folders(root)]
    return WorkList(tuple(map(str, images)), (None,) * len(images), tuple(map(str, errors)))


def _at_url(url: str) -> WorkList:
    if url.lower().endswith(_MANIFESTS):
        return _from_manifest(url, read_url(url))
    if has_image_name(url):
        return WorkList((url,), (None,))
    found = sorted((name for name in list_url(url) if has_image_name(name)), key=_url_key)
    return WorkList(tuple(found), (None,) * len(found))


def _url_key(url: str) -> tuple[str, list[Any]]:
    folder, _, name = url.rpartition("/")
    return folder, list(natural_key(Path(name)))


def _read(path: str) -> bytes:
    try:
        return read_input(path)
    except (OSError, ValueError) as error:
        got = error.strerror if isinstance(error, OSError) else error
        expected = "a folder of images, a manifest, or a URL"
        raise FrameError(f"cannot read {path}", expected=expected, got=got, remedy="Check the path.") from error


def _from_manifest(name: str, data: bytes) -> WorkList:
    rows = list(_rows(name, data))
    base = name.rpartition("/")[0] if is_url(name) else os.path.dirname(os.path.abspath(name))
    found: dict[str, str | None] = {}
    again = 0
    for number, (path, label) in rows:
        where = (
            path if is_url(path) else f"{base}/{path}" if is_url(base) else os.path.abspath(os.path.join(base, path))
        )
        if where in found:
            again += 1
            if found[where] != label:
                raise SpecError(
                    f"{name} gives {path} two labels", expected="one", got=f"{found[where]} and {label}, row {number}"
                )
        found[where] = label
    notes = (f"{again} rows of {name} name an image again: it is inspected once",) if again else ()
    return WorkList(tuple(found), tuple(found.values()), notes=notes)


def _rows(name: str, data: bytes) -> Iterable[tuple[int, tuple[str, str | None]]]:
    """(number for people, (path, label)) of a manifest."""
    lower = name.lower()
    if lower.endswith(".parquet"):
        try:
            columns = read_columns(data, _COLUMNS)
        except ValueError as error:
            raise _wrong(name, str(error)) from error
        paths = columns.get("path", [])
        table = [{"path": p, "label": m} for p, m in zip(paths, columns.get("label", [None] * len(paths)), strict=True)]
        return _checked(name, table, "path" in columns)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _wrong(name, f"an image, or text in another encoding ({error.reason})") from error
    if lower.endswith(".csv"):
        head = _lines(text)[0]
        delimiter = ";" if head.count(";") > head.count(",") else ","
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
        try:
            reader.fieldnames = [field.strip().lower() for field in reader.fieldnames or []]
            return _checked(name, list(reader), "path" in reader.fieldnames)
        except csv.Error as error:
            raise _wrong(name, f"line {reader.line_num}: {error}") from error
    if lower.endswith(".jsonl"):
        return _checked(name, _json_lines(name, text), True)
    lines = [(i, line.strip()) for i, line in enumerate(_lines(text), 1)]
    return [(i, (line, None)) for i, line in lines if line and not line.startswith("#")]


def _lines(text: str) -> list[str]:
    """Not `splitlines`: names, and the texts of JSON, may hold U+2028 and other ends of lines that it knows."""
    return re.split("\r\n?|\n", text)


def _json_lines(name: str, text: str) -> list[Any]:
    rows = []
    for i, line in enumerate(_lines(text), 1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise _wrong(name, f"line {i}: {error}") from error
    return rows


def _checked(name: str, rows: list[Any], has_path: bool) -> list[tuple[int, tuple[str, str | None]]]:
    if not has_path:
        raise _wrong(name, "no column path")
    found = []
    for i, row in enumerate(rows, 1):
        path, label = (row.get(column) for column in _COLUMNS) if isinstance(row, dict) else (None, None)
        if not isinstance(path, str) or not path.strip():
            raise _wrong(name, f"no path in row {i}")
        found.append((i, (path.strip(), None if label in (None, "") else storable(str(label)))))
    return found


def _wrong(name: str, got: str) -> EdgeADError:
    expected = "a path a line, or a column path in a .csv, .jsonl or .parquet file"
    return SpecError(f"{name} is no manifest", expected=expected, got=got)
