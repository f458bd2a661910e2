"""A grid of methods and backbones: reads what the user wants, and says what each bundle is made from.

The bundles are made by `edge-ad export` in separate processes, as edge_ad does not import the export.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_ad import __version__
from edge_ad.data.layouts import expand_home, load_category
from edge_ad.errors import EdgeADError, SpecError
from edge_ad.registry import METHODS

EMBEDDED = "edge-s"  # the backbone that comes with the export and needs no torch
_NO_TORCH = (EMBEDDED, "relief")  # nor has this one weights: fixed filters on normal maps
# Options that the grid sets itself, and options that would write files unknown to the grid.
_OWN = ("--data", "--method", "--backbone", "--weights", "--layers", "--out", "--threads", "--help")
OWN = "own"  # in place of a backbone: the method trains a network of its own
_ANY_BACKBONE, _TORCH_BACKBONE = ("onnx", "hnswlib"), ("torch", "torchvision", "onnxscript")


@dataclass(frozen=True)
class Backbone:
    """A backbone as `python -m export` takes it.

    Attributes:
        name: name of a torchvision model, "edge-s", "relief", or an ONNX file.
        weights: weights of a torchvision model; None for its usual ones.
        layers: names of layers; None for the usual ones.
    """

    name: str
    weights: Path | None = None
    layers: tuple[str, ...] | None = None

    @property
    def is_own(self) -> bool:
        """Whether it is none: the method trains a network of its own."""
        return self.name == OWN

    @property
    def is_file(self) -> bool:
        """Whether it is the user's own ONNX file."""
        return self.name.lower().endswith(".onnx")

    @property
    def title(self) -> str:
        """For a reader, and in names of files."""
        return Path(self.name).name if self.is_file else self.name


@dataclass(frozen=True)
class Recipe:
    """What a bundle is made from.

    Attributes:
        category: folder of the images.
        options: further arguments of `python -m export`.
    """

    category: Path
    method: str
    backbone: Backbone
    options: tuple[str, ...]

    @property
    def title(self) -> str:
        """padim-resnet18: for a reader, and in names of files."""
        return f"{self.method}-{self.backbone.title}"

    def command(self, out: Path, threads: int) -> list[str]:
        """The command that makes the bundle `out`."""
        backbone = self.backbone
        command = [sys.executable, "-m", "edge_ad.cli", "export", str(self.category), "--method", self.method]
        command += ["--out", str(out), "--threads", str(threads)]
        if not backbone.is_own:
            command += ["--backbone", backbone.name]
        if backbone.weights is not None:
            command += ["--weights", str(backbone.weights)]
        if backbone.layers is not None:
            command += ["--layers", *backbone.layers]
        return command + list(self.options)

    def files(self) -> list[Path]:
        """The files that the bundle is made from, besides images: backbone, weights, and files that options name."""
        given = [Path(option.partition("=")[2] or option) for option in self.options]
        files = [Path(self.backbone.name) if self.backbone.is_file else None, self.backbone.weights, *given]
        return [path for path in files if path is not None and path.is_file()]

    def fingerprint(self) -> dict[str, Any]:
        """Everything that the bundle depends on, ready for JSON. A file is described by path, size and time of change.

        Raises:
            DatasetError: the category has no good images to export from.
        """
        recipe = {
            **asdict(self),
            "goods": digest_of(load_category(self.category).train_good),
            "files": [state_of(path) for path in self.files()],
            "edge_ad": __version__,
        }
        plain: dict[str, Any] = json.loads(json.dumps(recipe, default=str))
        return plain


def state_of(path: Path) -> tuple[str, int, int]:
    """What changes when a file does: path, size, time of change."""
    stat = path.stat()
    return str(path), stat.st_size, stat.st_mtime_ns


def digest_of(paths: Iterable[Path]) -> str:
    """A digest that changes when one of the files does."""
    return hashlib.blake2b(repr([state_of(path) for path in paths]).encode(), digest_size=16).hexdigest()


def choose_methods(given: str) -> tuple[str, ...]:
    """Methods from a list with commas; "all" for all, but those that take torch where it is not installed.

    Raises:
        SpecError: there is no such method, or one is given twice.
    """
    without_torch = METHODS.having(lambda method: not method.own_network)
    able = tuple(METHODS) if importlib.util.find_spec("torch") is not None else without_torch
    names = able if given == "all" else _names(given, "--methods")
    for name in names:
        if name not in METHODS:
            close = difflib.get_close_matches(name, METHODS, 1)
            remedy = f"Did you mean {close[0]}?" if close else "Give some of these, or all."
            raise SpecError("there is no such method", expected=", ".join(METHODS), got=repr(name), remedy=remedy)
    return names


def choose_backbones(given: str, weights: Sequence[str], layers: Sequence[str]) -> tuple[Backbone, ...]:
    """Backbones from a list with commas.

    Args:
        given: names and ONNX files.
        weights: NAME=FILE, or folders with files that begin with the name of their backbone.
        layers: NAME=A,B.

    Raises:
        SpecError: a name, a file or a folder that is not there.
    """
    names = _names(given, "--backbones")
    files = dict(_pair(text, "--weights") for text in weights if "=" in text)
    folders = [expand_home(text) for text in weights if "=" not in text]
    nodes = {name: tuple(_names(text, "--layers")) for name, text in (_pair(text, "--layers") for text in layers)}
    for option, of in (("--weights", files), ("--layers", nodes)):
        if unknown := [name for name in of if name not in names]:
            raise SpecError(
                f"{option} names a backbone that is not in the grid", expected=" or ".join(names), got=unknown[0]
            )
    for path in [*folders, *map(Path, files.values()), *(Path(n) for n in names if Backbone(n).is_file)]:
        if not (path.is_dir() if path in folders else path.is_file()):
            expected = "NAME=FILE, or a folder of weights" if path in folders else "a file"
            raise SpecError(f"there is no {path}", expected=expected, got=str(path))
    chosen = []
    for name in names:
        plain = Backbone(name, layers=nodes.get(name))
        if name in files:
            plain = Backbone(name, Path(files[name]), plain.layers)
        elif name not in _NO_TORCH and not plain.is_file:
            plain = Backbone(name, _weights_in(folders, name), plain.layers)
        chosen.append(plain)
    return tuple(chosen)


def combined(methods: Sequence[str], backbones: Sequence[Backbone]) -> list[tuple[str, Backbone]]:
    """Each method with each backbone; one that trains a network of its own once, without any."""
    pairs = [
        (method, Backbone(OWN) if METHODS[method].own_network else backbone)
        for backbone in backbones
        for method in methods
    ]
    return list(dict.fromkeys(pairs))


def _names(given: str, option: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in given.split(",") if name.strip())
    if not names or len(set(names)) != len(names):
        raise SpecError(f"{option} cannot be used", expected="different names with commas between", got=repr(given))
    return names


def _pair(text: str, option: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not name or not value:
        raise SpecError(f"{option} cannot be used", expected="NAME=VALUE", got=repr(text))
    return name, value


def _weights_in(folders: Sequence[Path], name: str) -> Path | None:
    """resnet18_to_layer3.pth or resnet18-f37072fd.pth for resnet18, and not resnet180.pth."""
    form = re.compile(re.escape(name) + r"([^A-Za-z0-9].*)?\.(pth|pt)")
    found = sorted(path for folder in folders for path in folder.iterdir() if form.fullmatch(path.name))
    if len(found) > 1:
        raise SpecError(
            f"several files may be the weights of {name}",
            expected="one",
            got=", ".join(path.name for path in found),
            remedy=f"Say which: --weights {name}=FILE.",
        )
    return found[0] if found else None


def check_options(options: Sequence[str]) -> None:
    """Refuses export options that the grid sets itself.

    Raises:
        SpecError: there is one.
    """
    writing = (option.flag for method in METHODS.values() for option in method.options if option.output)
    owned = (*_OWN, *writing)
    for option in options:
        name = option.partition("=")[0]
        if len(name) > 2 and name.startswith("--") and any(own.startswith(name) for own in owned):
            raise SpecError(
                f"{name} cannot be among the export options",
                expected="options of `python -m export` that are the same for the whole grid",
                got=option,
                remedy="The grid sets it; options of `edge-ad eval` must come before --export-options.",
            )


def require_export(wanted: Sequence[tuple[str, Backbone]]) -> None:
    """Checks that the export, and what it needs for these methods and backbones, is installed.

    Raises:
        EdgeADError: a package is missing; the message names the pip command.
    """
    needs_torch = [b.name for _, b in wanted if b.name not in _NO_TORCH and not b.is_file and not b.is_own]
    trained = [method for method, backbone in wanted if backbone.is_own]
    packages = ("export", *_ANY_BACKBONE, *(_TORCH_BACKBONE if needs_torch else ("torch",) if trained else ()))
    needs_torch = list(dict.fromkeys(needs_torch + trained))
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        extra = "export" if needs_torch else "demo"
        of = f" of {', '.join(needs_torch)}" if needs_torch else ""
        raise EdgeADError(
            f"--methods makes bundles and needs the export{of}",
            expected=", ".join(packages),
            got=f"no {', '.join(missing)}",
            remedy=f"Run pip install 'edge-ad[{extra}]', or give finished bundles instead.",
        )
