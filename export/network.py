"""The network behind the graph: a torchvision model, the user's own ONNX file, or one that a method trains itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray

from edge_ad.errors import BackboneError
from edge_ad.frames.crop import Crop
from edge_ad.spec import DISTANCES, FrameSpec, Size, Tensor
from export.graph import PatchGraph, build_graph, own_size, tensor_names
from export.layout import AUTO, Asked
from export.onnx_file import read_onnx
from export.options import EMBEDDED, Options
from export.tokens import STRIDE, patch_side, stride_for

_EMBEDDED_FILE = Path(__file__).parent / "models" / "edge_s.onnx"  # models/EDGE_S.md says how it was made
_EMBEDDED_LAYERS = ("fine", "deep")


@dataclass(frozen=True)
class Lesson:
    """What a network learns from, if it does not come with its weights.

    Attributes:
        options, frame: of the export.
        crop: makes the tensors that it will see.
        good_images: files of all good images. It chooses those that it learns from: `Network.learned`.
    """

    options: Options
    frame: FrameSpec
    crop: Crop
    good_images: Sequence[Path]


@dataclass(frozen=True)
class Network(ABC):
    """A network whose graph can be made for any crop.

    Attributes:
        name, layers, weights, sha256, mean, std: as `edge_ad.spec.BackboneSpec` has them.
        stride: sides of inputs should be multiples of it, so that patches cover them.
        size: the only (H, W) that it takes; None for any.
        area: pixels of a whole frame, or of its region, where no size is asked for; None if several are tried.
        learned: good images that its weights were learned from, which therefore cannot be held out.
    """

    name: str
    layers: tuple[str, ...]
    weights: str
    sha256: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    stride: int = field(default=STRIDE, kw_only=True)
    size: Size | None = field(default=None, kw_only=True)
    area: int | None = field(default=None, kw_only=True)
    learned: frozenset[Path] = field(default=frozenset(), kw_only=True)

    @abstractmethod
    def graph(self, size: Size, *, floats: bool = False) -> PatchGraph:
        """The graph for a crop of (H, W) `size`; with `floats`, of a normal map."""

    @abstractmethod
    def reference_patches(self, tensor: Tensor, graph: PatchGraph) -> NDArray[np.float32] | None:
        """(h*w, D) float32 patches by the original framework, to check the graph; None without one."""

    def taught(self, lesson: Lesson) -> Network:
        """The network with its weights: itself, unless it learns them from the good images."""
        return self

    def finished(self) -> None:
        """Called when the bundle is written: removes what a stopped export would go on from; most have nothing."""
        return


@dataclass(frozen=True)
class Backbone(Network):
    """A network that comes with its weights, and is cut after some layers.

    Attributes:
        to_onnx: ONNX for a crop of (H, W).
        features: the layers of a (1, H, W, 3) u8 tensor by the original framework; None where the ONNX file is the
            original.
        asked: what the options say of the layers' layout.
        distance: as `edge_ad.spec.BackboneSpec` has it.
    """

    to_onnx: Callable[[Size], onnx.ModelProto]
    features: Callable[[Tensor], list[NDArray[np.float32]]] | None
    asked: Asked = AUTO
    distance: str = DISTANCES[0]

    def graph(self, size: Size, *, floats: bool = False) -> PatchGraph:
        """The backbone graph for a crop of (H, W) `size`; with `floats`, of a normal map."""
        given = self.layers, size, self.mean, self.std, self.asked, self.distance
        return build_graph(self.to_onnx(size), *given, floats=floats)

    def reference_patches(self, tensor: Tensor, graph: PatchGraph) -> NDArray[np.float32] | None:
        """(h*w, D) float32 patches by the original framework and NumPy, to check the graph; None without one."""
        if self.features is None:
            return None
        found = zip(graph.forms, self.features(tensor), strict=True)
        return patches_of([form.map_of(layer) for form, layer in found], graph.grid, self.distance)


def patches_of(features: list[NDArray[np.float32]], grid: Size, distance: str = DISTANCES[0]) -> NDArray[np.float32]:
    """(h*w, D) patches of (1, C, h, w) feature maps: 3x3 mean, bilinear to the grid, joined; for cosine distance each
    divided by its length. OpenCV and NumPy only.
    """
    planes = []
    for maps in features:
        for plane in maps[0]:
            pooled = cv2.blur(plane, (3, 3), borderType=cv2.BORDER_CONSTANT)  # zeros count, as in the graph
            planes.append(cv2.resize(pooled, (grid[1], grid[0]), interpolation=cv2.INTER_LINEAR))
    patches = np.stack(planes, axis=-1).reshape(grid[0] * grid[1], len(planes))
    if distance == "cosine":
        lengths = np.linalg.norm(patches.astype(np.float64), axis=1, keepdims=True)
        patches = (patches / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return patches


def open_networks(options: Options) -> list[Network]:
    """The networks that an export may choose from, the preferred one first: one, unless --weights is a folder and no
    --backbone is named. Then these are the embedded one and all whose weights are in the folder.

    Raises:
        BackboneError: no such network, layers or weights, or torch is missing where it is needed.
    """
    folder = options.weights
    if options.backbone is not None or folder is None or not folder.is_dir():
        return [open_network(options)]
    if options.layers is not None:
        raise BackboneError(
            "--layers names layers of one network",
            expected="--backbone too, or no --layers",
            got=f"the folder {folder} for --weights",
        )
    from export.backbone import weights_in

    found: list[Network] = [open_network(replace(options, weights=None))]
    for name, file in weights_in(folder).items():
        found.append(open_network(replace(options, backbone=name, weights=file)))
    return found


@dataclass(frozen=True)
class Brought:
    """Weights that a model brings with it, in place of those that the options name.

    Attributes:
        arrays: by the names of torchvision.
        source, sha256: of the file that they come from.
    """

    arrays: Mapping[str, NDArray[Any]]
    source: str
    sha256: str


def open_network(options: Options, brought: Brought | None = None) -> Backbone:
    """The network that the options name.

    Args:
        brought: weights of a torchvision network.

    Raises:
        BackboneError: no such network, layers or weights, or torch is missing where it is needed.
    """
    name = options.backbone_name
    if name == EMBEDDED:
        return _onnx_network(options, _EMBEDDED_FILE, EMBEDDED, options.layers or _EMBEDDED_LAYERS)
    if name.lower().endswith(".onnx"):
        return _onnx_network(options, Path(name), Path(name).name, options.layers)
    # torch is needed only from here on, and never for an ONNX backbone
    from export.backbone import torchvision_backbone

    state = None if brought is None else (brought.arrays, brought.source, brought.sha256)
    backbone = torchvision_backbone(name, options.layers, options.weights, state)
    return Backbone(
        name,
        backbone.layers,
        backbone.weights,
        backbone.sha256,
        options.mean,
        options.std,
        backbone.to_onnx,
        lambda tensor: backbone.features(tensor, options.mean, options.std),
        stride=backbone.stride,
        **_asked(options),
    )


def _onnx_network(options: Options, path: Path, name: str, layers: tuple[str, ...] | None) -> Backbone:
    if options.weights is not None:
        raise BackboneError(f"{name} holds its own weights", expected="no --weights", got=options.weights)
    model, digest = read_onnx(path)
    if not layers:
        names = [output.name for output in model.graph.output] or tensor_names(model)[-4:]
        raise BackboneError(
            "an ONNX backbone needs --layers",
            expected="names of its tensors, finest first",
            got="none",
            remedy=f"Its outputs are: {' '.join(names)}.",
        )
    return Backbone(
        name,
        layers,
        path.name,
        digest,
        options.mean,
        options.std,
        lambda size: model,
        None,
        stride=stride_for(patch_side(model)),
        size=own_size(model),
        **_asked(options),
    )


def _asked(options: Options) -> dict[str, Any]:
    return {"asked": Asked(options.layout, options.prefix_tokens), "distance": options.distance}
