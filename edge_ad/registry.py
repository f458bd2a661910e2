"""The methods, engines and precisions of edge-ad. Each is one line here and is listed nowhere else.

All other code reads these lists: the words that a manifest may hold, the choices of the command lines, the messages,
the tables of FORMAT.md. CONTRIBUTING.md shows how to add a method and an engine.

Importing this module is cheap. A method's module is imported when the method is first looked up, an engine's package
when the engine is opened.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_ad.heads.base import Head, Opening
    from edge_ad.spec.base import Range
    from edge_ad.spec.methods import HeadSpec


@dataclass(frozen=True)
class Option:
    """An option of the export that one or more methods have. Methods that share it name the same object or flag.

    Attributes:
        flag: as on the command line: ``--neighbors``. One that begins with ``--no-`` takes no value and gives False.
        help: what it means to the method, and its default where that is not `default`.
        kind: turns the text into the value; raises ValueError, or argparse.ArgumentTypeError with a reason.
        default: the value when the option is not given.
        limits: the allowed values.
        metavar: name of the value in the help.
        output: the option names a file that the export writes. A method without the option refuses it, as it would not
            write the file. Any other option is ignored by methods that do not have it, so one command line fits all.
    """

    flag: str
    help: str
    kind: Callable[[str], Any] = int
    default: Any = None
    limits: Range | None = None
    metavar: str | None = None
    output: bool = False
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.flag.removeprefix("--").replace("-", "_"))

    def check(self, value: Any) -> None:
        """Raises `SpecError` where the value is out of range."""
        if value is not None and self.limits is not None:
            self.limits.check(value, self.flag)


@dataclass(frozen=True)
class Method:
    """A method, as its module declares it in ``METHOD``.

    Attributes:
        title: its name for a reader.
        spec: what a manifest says of it.
        open: makes the head of a bundle.
        score: what the score of a frame is, in a few words.
        members: name of each bundle member -> what it holds. These are rows of FORMAT.md.
        options: its options of the export.
        has_map: whether it says where an anomaly is.
        needs_index: whether the manifest has an index for it (a coreset to search in).
        searches: the kinds of search that it has. "graph" also needs a graph in the bundle.
        distances: those between patches that it can be based on, as `edge_ad.spec.BackboneSpec.distance` names them.
        masked: whether its head takes `rows`, so that a frame may have a mask of its own.
        tiles: whether it judges each patch by itself, wherever it lies, so that a frame may come in tiles
            (`edge_ad.heads.base.TileHead`).
        rule: the threshold rule of an export that names none.
        usual: threshold rule -> its default value, where that differs from the rule's own default.
        own_network: whether its network is its own, and the export trains it on the good images (which takes torch). It
            stands in the bundle where others have a backbone, and its graph gives numbers of its own for patches.
        reconstructs: whether the second output of its graph is the picture as it should be.
        since: the format version of bundles that can hold it first.
    """

    title: str
    spec: type[HeadSpec]
    open: Callable[[Opening], Head]
    score: str
    members: Mapping[str, str] = field(default_factory=dict)
    options: tuple[Option, ...] = ()
    has_map: bool = True
    needs_index: bool = False
    searches: tuple[str, ...] = ("exact",)
    distances: tuple[str, ...] = ("euclidean",)
    masked: bool = False
    tiles: bool = False
    rule: str = "percentile"
    usual: Mapping[str, float] = field(default_factory=dict)
    own_network: bool = False
    reconstructs: bool = False
    since: int = 2


class Methods(Mapping[str, Method]):
    """The methods by name; the first is the default. A method's module is imported when it is looked up.

    Args:
        modules: by name, the module that declares the method.
    """

    def __init__(self, modules: dict[str, str]) -> None:
        self.modules = modules

    def __getitem__(self, name: str) -> Method:
        method: Method = importlib.import_module(self.modules[name]).METHOD
        return method

    def __contains__(self, name: object) -> bool:
        return name in self.modules

    def __iter__(self) -> Iterator[str]:
        return iter(self.modules)

    def __len__(self) -> int:
        return len(self.modules)

    def having(self, wanted: Callable[[Method], object]) -> tuple[str, ...]:
        """Names of the methods for which `wanted` holds."""
        return tuple(name for name, method in self.items() if wanted(method))


@dataclass(frozen=True)
class EngineEntry:
    """An engine.

    Attributes:
        title: its name for a reader.
        extra: the extra of edge-ad that installs it.
        runs: kinds of model that it runs, the preferred one first: "onnx", "ir".
        vendors: CPU vendors for which it is the first choice.
        devices: its devices; None for those that its package knows.
        package: the package that it imports; by default its name.
    """

    title: str
    extra: str
    runs: tuple[str, ...] = ("onnx",)
    vendors: tuple[str, ...] = ()
    devices: tuple[str, ...] | None = ("CPU",)
    package: str = ""

    @property
    def pip(self) -> str:
        """The command that installs it."""
        return f"pip install 'edge-ad[{self.extra}]'"


@dataclass(frozen=True)
class Precision:
    """The arithmetic of a backbone.

    Attributes:
        tolerance: largest relative difference between two PCs that golden probes allow. `export.probes` says how each
            was measured.
        arithmetic: the arithmetic that the engine is told to use.
        engines: the engines that have it; empty for all.
        own_models: True if the precision is part of the model. Each engine then needs its own model, which
            `export.quantize` makes. False if the reference's models are used.
        cpu: the property of `edge_ad.system.cpu.Cpu` that the CPU must have; "" for none.
        needs: the same in words.
    """

    tolerance: float
    arithmetic: str = "f32"
    engines: tuple[str, ...] = ()
    own_models: bool = False
    cpu: str = ""
    needs: str = ""


METHODS = Methods(
    {
        "patchcore": "edge_ad.heads.patchcore",
        "padim": "edge_ad.heads.padim",
        "spade": "edge_ad.heads.spade",
        "knn": "edge_ad.heads.knn",
        "centroid": "edge_ad.heads.centroid",
        "autoencoder": "edge_ad.heads.autoencoder",
    }
)

ENGINES: dict[str, EngineEntry] = {
    "openvino": EngineEntry("OpenVINO", "openvino", runs=("ir", "onnx"), vendors=("intel",), devices=None),
    "onnxruntime": EngineEntry("ONNX Runtime", "onnx", vendors=("amd", "arm", "other")),
}

PRECISIONS: dict[str, Precision] = {
    "f32": Precision(1e-3),
    "bf16": Precision(2e-2, "bf16", ("openvino",), cpu="has_bf16", needs="AMX or AVX512_BF16"),
    "int8": Precision(5e-2, "f32", ("openvino", "onnxruntime"), own_models=True),  # layers that are not int8 run in f32
}


BASE_PRECISION = next(iter(PRECISIONS))  # of the reference point, which every bundle has


def engine_package(name: str) -> str:
    """The package that an engine imports."""
    return ENGINES[name].package or name


def one_of(names: Mapping[str, object] | tuple[str, ...], word: str = "or") -> str:
    """Names in words: "patchcore, padim or knn"."""
    *first, last = names
    return f"{', '.join(first)} {word} {last}" if first else last
