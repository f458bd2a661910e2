"""Checkpoints of anomalib 1.x and 2.x (``model.ckpt``, written by Lightning): PatchCore and PaDiM.

The file holds weights, memory or Gaussians, thresholds and, in one form or another, how images are resized and
normalised. It is read by `export.importers.torch_file`: no code of it runs. A ``model.pt`` is one pickled Python
object: its code would have to run, so it is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad.calibration.tail import just_above
from edge_ad.errors import SpecError
from export.importers.base import Asked, Format, Given, Imported, View
from export.importers.gaussians import Gaussians, blur_of
from export.importers.joined import JoinedBackbone
from export.importers.pickles import Stub
from export.importers.torch_file import TensorRef, TorchFile, is_torch
from export.network import Backbone, Brought, open_network
from export.options import IMAGENET_MEAN, IMAGENET_STD, Options

NEIGHBORS = 9  # of Eq. 7, where a checkpoint does not say it
_BACKBONE = "model.feature_extractor.feature_extractor."
_BANK = "model.memory_bank"
_MEANS, _INVERSES = "model.gaussian.mean", "model.gaussian.inv_covariance"
_CHANNELS, _KERNEL = "model.idx", "model.anomaly_map_generator.blur.kernel"
_THRESHOLDS = ("post_processor._image_threshold", "post_processor.image_threshold", "image_threshold.value")
_EXTREMES = ("post_processor.image_min", "post_processor.image_max")
Triple = tuple[float, float, float]
_MOST_VISITED = 100_000  # objects of a checkpoint that are looked at for a transform


@dataclass(frozen=True)
class Transform:
    """What a checkpoint says of the images: torchvision's transforms.

    Attributes:
        view: resize and crop; None if none is named.
        mean, std: of the normalisation.
    """

    view: View | None
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD


def read(path: Path, asked: Asked) -> Imported:
    """The model as a bundle's PatchCore or PaDiM.

    Raises:
        SpecError: it is broken, another kind of file, or of another method.
        BackboneError: its network is not one of torchvision.
    """
    file = TorchFile(path)
    if file.is_script:
        raise _script(path)
    content = file.content
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict):
        raise _no_checkpoint(path, content)
    if _BANK not in state and _INVERSES not in state:
        raise _other_method(path, state)
    settings = content.get("hyper_parameters")
    settings = settings if isinstance(settings, dict) else {}
    transform = transform_of(content)
    view = asked.view or transform.view
    if view is None:
        raise SpecError(
            f"{path} does not say how large its images were",
            expected="a transform with a Resize",
            got="none",
            remedy="Give it: --input-size 256,256 is anomalib's usual.",
        )
    name, layers = _network_of(path, settings)
    weights = {key.removeprefix(_BACKBONE): value for key, value in state.items() if _is_weight(key, value)}
    arrays = {key: file.array(value) for key, value in weights.items()}
    given = {"backbone": name, "layers": layers, "mean": transform.mean, "std": transform.std}
    network = open_network(Options("", **given), Brought(arrays, path.name, file.sha256()))
    threshold = _given(file, state, content)
    if _BANK not in state:
        return _padim(file, state, network, view, threshold)
    rows = _numbers(file, state, _BANK)
    if rows.ndim != 2 or not rows.size:
        raise _not_trained(path, "a memory bank (N, D)", rows.shape)
    neighbours = settings.get("num_neighbors", NEIGHBORS)
    neighbours = neighbours if type(neighbours) is int and neighbours >= 1 else NEIGHBORS
    own = {"reweight": 0 if neighbours == 1 else neighbours, "local_scale": 0.0, "smooth": 0.0}
    return Imported(FORMAT.title, network, view, "patchcore", own, rows=rows, given=threshold)


def _padim(
    file: TorchFile, state: Mapping[Any, Any], network: Backbone, view: View, threshold: Given | None
) -> Imported:
    """The model as a bundle's PaDiM, whose score is the peak of its map.

    Raises:
        SpecError: a part is missing, or does not fit the others.
    """
    missing = [name for name in (_MEANS, _CHANNELS, _KERNEL) if not isinstance(state.get(name), TensorRef)]
    if missing:
        raise SpecError(f"{file.path} has no {missing[0]}", expected="all parts of anomalib's PaDiM", got="some")
    means, inverses = _numbers(file, state, _MEANS), _numbers(file, state, _INVERSES)
    channels = file.array(state[_CHANNELS])
    if means.ndim != 2 or inverses.ndim != 3 or not means.size:
        raise _not_trained(file.path, "means (C, R) and inverse covariances (R, C, C)", (means.shape, inverses.shape))
    fits = channels.ndim == 1 and channels.dtype.kind == "i" and len(channels) == len(means) and channels.min() >= 0
    if not fits:
        raise SpecError(
            f"{_CHANNELS} of {file.path} cannot be used",
            expected=f"{len(means)} numbers of channels, from 0",
            got=f"{channels.shape} {channels.dtype}",
        )
    blur = blur_of(_numbers(file, state, _KERNEL), f"{file.path}")
    found = Gaussians(np.ascontiguousarray(means.T), inverses, blur, f"{file.path}")
    values = {field.name: getattr(network, field.name) for field in fields(network)}
    joined = JoinedBackbone(**values, channels=channels.astype(np.int64))
    return Imported(FORMAT.title, joined, view, "padim", fit=found.fit, given=threshold)


def claims(path: Path) -> bool:
    """Whether it is a file of torch, of which other tools write other kinds: `read` says which."""
    return path.is_file() and is_torch(path)


FORMAT = Format("anomalib", "a checkpoint of Lightning, model.ckpt", claims, read)


def _not_trained(path: Path, expected: str, got: object) -> SpecError:
    return SpecError(
        f"{path} was not trained", expected=expected, got=got, remedy="Give the checkpoint of the end of a training."
    )


def _other_method(path: Path, state: Mapping[Any, Any]) -> SpecError:
    names = ", ".join(sorted({str(name).split(".")[1] for name in state if str(name).startswith("model.")})[:8])
    return SpecError(
        f"{path} is of a method that is not imported",
        expected=f"anomalib's PatchCore, with {_BANK}, or PaDiM, with {_INVERSES}",
        got=f"model.{{{names:.200}}}",
        remedy="Train PatchCore or PaDiM with anomalib, or export with edge-ad from the good images.",
    )


def _script(path: Path) -> SpecError:
    return SpecError(
        f"{path} is TorchScript, a program in a file",
        expected="a checkpoint of Lightning, with a state_dict",
        got="code, such as ind_knn_ad exports",
        remedy="Export from the same good images: python -m export --method patchcore. The scores of ind_knn_ad are "
        "weighted in a way that no bundle has, so they could not be the same. Nothing of this file was run.",
    )


def _no_checkpoint(path: Path, content: Any) -> SpecError:
    inside = [value for value in content.values() if isinstance(value, Stub)] if isinstance(content, dict) else []
    found = inside[0] if inside else content
    whole = isinstance(found, Stub)
    return SpecError(
        f"{path} holds a Python object, which only its own code can open" if whole else f"{path} is no checkpoint",
        expected="a checkpoint of Lightning, with a state_dict",
        got=repr(found)[:120] if whole else type(content).__name__,
        remedy="Give the checkpoint of the same training, .../weights/lightning/model.ckpt, or the model as anomalib "
        "exports it to ONNX or OpenVINO. Nothing of this file was run.",
    )


def _is_weight(name: Any, value: Any) -> bool:
    return isinstance(name, str) and name.startswith(_BACKBONE) and isinstance(value, TensorRef)


def _numbers(file: TorchFile, state: Mapping[Any, Any], name: str) -> NDArray[np.float32]:
    """A tensor of numbers, float32.

    Raises:
        SpecError: it is none, or holds NaN or Inf.
    """
    value = state[name]
    if not isinstance(value, TensorRef):
        raise SpecError(f"{name} of {file.path} is no tensor", expected="a tensor", got=type(value).__name__)
    array = file.array(value).astype(np.float32)
    if not np.isfinite(array).all():
        raise SpecError(f"{name} of {file.path} holds NaN or Inf", expected="finite numbers", got="others")
    return array


def _network_of(path: Path, settings: Mapping[Any, Any]) -> tuple[str, tuple[str, ...]]:
    name, layers = settings.get("backbone"), settings.get("layers")
    if not (isinstance(name, str) and isinstance(layers, (list, tuple)) and all(isinstance(x, str) for x in layers)):
        raise SpecError(
            f"{path} does not say which network it has",
            expected="hyper_parameters with backbone and layers, as names",
            got=f"{type(name).__name__}, {type(layers).__name__}",
            remedy="Import the model as anomalib exports it to ONNX.",
        )
    return name.partition(".")[0], tuple(layers)  # timm writes NAME.WEIGHTS


def _given(file: TorchFile, state: Mapping[Any, Any], content: Mapping[Any, Any]) -> Given | None:
    """The threshold of anomalib: of the raw score, at its sensitivity; None if it was never set."""
    found = next((name for name in _THRESHOLDS if isinstance(state.get(name), TensorRef)), None)
    if found is None:
        return None
    threshold = _scalar(file, state[found])
    config = content.get("anomalib_post_processor_config")
    sensitivity = config.get("image_sensitivity") if isinstance(config, dict) else None
    low, high = (state.get(name) for name in _EXTREMES)
    if isinstance(sensitivity, float) and isinstance(low, TensorRef) and isinstance(high, TensorRef):
        # normalised scores are (score - threshold) / (max - min) + 1/2, and anomalous above 1 - sensitivity
        threshold += (0.5 - sensitivity) * (_scalar(file, high) - _scalar(file, low))
    if not (np.isfinite(threshold) and threshold > 0):
        return None
    return Given(float(just_above(np.array(threshold))), "f1")  # anomalous above it there, and from it on here


def _scalar(file: TorchFile, tensor: TensorRef) -> float:
    array = file.array(tensor).reshape(-1)
    return float(array[0]) if array.size == 1 else float("nan")


def transform_of(content: Mapping[Any, Any]) -> Transform:
    """Resize, centre crop and normalisation, wherever the version of anomalib has put them: as settings (2.x), or as
    pickled transforms (1.x).
    """
    view, mean, std = None, IMAGENET_MEAN, IMAGENET_STD
    size: list[int] = []
    crop = None
    for name, settings in _transforms(content):
        sides = _sides(settings.get("size"))
        if name == "Resize" and sides and not size:
            size = sides
        elif name == "CenterCrop" and sides:
            crop = (sides[0], sides[-1])
        elif name == "Normalize":
            mean, std = (_triple(settings.get(key)) or usual for key, usual in (("mean", mean), ("std", std)))
    if size:
        view = View((size[0], size[1]) if len(size) == 2 else None, size[0] if len(size) == 1 else None, crop)
    return Transform(view, mean, std)


def _transforms(content: Mapping[Any, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(class, settings) of every transform in a checkpoint, in order; what holds weights is skipped."""
    skipped = ("state_dict", "optimizer_states", "loops", "lr_schedulers")
    stack: list[Any] = [value for key, value in content.items() if key not in skipped][::-1]  # the next one last
    seen: set[int] = set()
    while stack and len(seen) < _MOST_VISITED:
        value = stack.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        inside: Iterable[Any] = ()
        if isinstance(value, Stub):
            yield value.name.rpartition(".")[2], value.state
            inside = value.state.values()
        elif isinstance(value, dict):
            path, settings = value.get("class_path"), value.get("init_args")
            if isinstance(path, str) and isinstance(settings, dict):
                yield path.rpartition(".")[2], settings
            inside = value.values()
        elif isinstance(value, (list, tuple)):
            inside = value
        stack += list(inside)[::-1]


def _sides(value: Any) -> list[int]:
    sides = [value] if type(value) is int else list(value) if isinstance(value, (list, tuple)) else []
    return sides if len(sides) in (1, 2) and all(type(side) is int and side > 0 for side in sides) else []


def _triple(value: Any) -> Triple | None:
    fits = isinstance(value, (list, tuple)) and len(value) == 3 and all(type(x) in (int, float) for x in value)
    return (float(value[0]), float(value[1]), float(value[2])) if fits else None
