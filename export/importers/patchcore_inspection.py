"""Models of patchcore-inspection, the code that came with the paper of PatchCore (Roth et al., 2022).

It writes ``patchcore_params.pkl``, a dict, and ``nnscorer_search_index.faiss``, the coreset. The members of an ensemble
have names with ``Ensemble-i-n_`` before; each is a model by itself. Weights and threshold are not in the files.

Its score is the squared distance of the worst patch. The bundle gives the distance, of which the ranking is the same.
"""

from __future__ import annotations

import reprlib
from dataclasses import fields
from pathlib import Path
from typing import Any

from edge_ad.errors import BackboneError, SpecError
from edge_ad.spec import MAX_SIDE, MIN_FRAME_SIDE
from edge_ad.system.inputs import read_input
from export.importers.base import Asked, Format, Imported, View, start_of
from export.importers.faiss_file import is_faiss, read_flat
from export.importers.pickles import read_pickle
from export.importers.pooled import PooledBackbone, Pooling
from export.network import open_network
from export.options import Options

PARAMS, INDEX = "patchcore_params.pkl", "nnscorer_search_index.faiss"
_MAX_PARAMS = 2**20  # bytes; real ones have some 230
_MOST = {"pretrain_embed_dimension": 4096, "target_embed_dimension": 4096, "patchsize": 9, "patchstride": 9}
_USUAL_RESIZE = 8 / 7  # of the crop: 256 for 224, 366 for 320, as its README has them
_TORCHVISION = {  # its names -> torchvision's, of the networks that it takes from there; copies of it add small ones
    "alexnet": "alexnet",
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50": "resnet50",
    "resnet101": "resnet101",
    "resnext101": "resnext101_32x8d",
    "vgg11": "vgg11",
    "vgg19": "vgg19",
    "vgg19_bn": "vgg19_bn",
    "wideresnet50": "wide_resnet50_2",
    "wideresnet101": "wide_resnet101_2",
}


def claims(path: Path) -> bool:
    """Whether it is a folder with such files, or one of them."""
    if path.is_dir():
        return bool(_members(path))
    return is_faiss(start_of(path)) or (path.name.endswith(PARAMS) and start_of(path, 1) == b"\x80")


def read(path: Path, asked: Asked) -> Imported:
    """The model as a PatchCore with its own patches.

    Raises:
        SpecError: a file is missing, broken, hostile, or of another kind.
        BackboneError: the network is not torchvision's, or its weights are missing.
    """
    params_file, index_file = _pair(path)
    params = _params(params_file)
    rows = read_flat(index_file)
    target = params["target_embed_dimension"]
    if rows.shape[1] != target:
        raise SpecError(
            f"{index_file} does not fit {params_file.name}",
            expected=f"vectors of {target} numbers, its target_embed_dimension",
            got=f"{rows.shape[1]}",
        )
    pooling = Pooling(params["patchsize"], params["patchstride"], params["pretrain_embed_dimension"], target)
    _, height, width = params["input_shape"]
    name = _TORCHVISION[params["backbone.name"]]
    given = {"backbone": name, "layers": tuple(params["layers_to_extract_from"]), "weights": asked.weights}
    opened = open_network(Options("", **given))
    values = {field.name: getattr(opened, field.name) for field in fields(opened)}
    network = PooledBackbone(**values, pooling=pooling)
    shorter = asked.resize or round(min(height, width) * _USUAL_RESIZE)
    notes = [
        ("view", f"shorter side {shorter}, centre crop {height} x {width} (the resize is not in the files: --resize)"),
        ("score", "distance of the worst patch; patchcore-inspection gives its square, which ranks frames alike"),
    ]
    if (neighbours := params["anomaly_scorer_num_nn"]) != 1:
        text = f"trained with {neighbours} neighbours, but patchcore-inspection scores with 1 once it has read its file"
        notes.append(("note", f"{text}, and so does the bundle"))
    own = {"reweight": 0, "local_scale": 0.0, "smooth": 0.0}
    view = View(shorter=shorter, crop=(height, width))
    return Imported(FORMAT.title, network, view, "patchcore", own, rows=rows, notes=tuple(notes))


FORMAT = Format("patchcore-inspection", f"a folder with {PARAMS} and {INDEX}, or one of the two", claims, read)


def _members(folder: Path) -> list[str]:
    """What stands before the names of the files of each model in a folder."""
    names = [path.name for path in folder.iterdir()]
    return sorted({name.removesuffix(end) for end in (PARAMS, INDEX) for name in names if name.endswith(end)})


def _pair(path: Path) -> tuple[Path, Path]:
    """The two files of the model that is meant.

    Raises:
        SpecError: one is missing, or the folder has several models.
    """
    folder = path if path.is_dir() else path.parent
    if path.is_dir():
        members = _members(path)
        if len(members) > 1:
            raise SpecError(
                f"{path} holds an ensemble of {len(members)} models",
                expected="one model: a bundle has one backbone",
                got=", ".join(prefix + PARAMS for prefix in members[:4]),
                remedy=f"Name the file of one: {path / (members[0] + PARAMS)}. Each is a model by itself.",
            )
        prefix = members[0]
    else:
        end = next((end for end in (PARAMS, INDEX) if path.name.endswith(end)), None)
        if end is None:
            raise SpecError(
                f"{path} is an index of FAISS by itself",
                expected=f"a name that ends in {INDEX}, and {PARAMS} beside it",
                got=path.name,
                remedy="Give the folder that patchcore-inspection wrote.",
            )
        prefix = path.name.removesuffix(end)
    pair = folder / (prefix + PARAMS), folder / (prefix + INDEX)
    for file in pair:
        if not file.is_file():
            raise SpecError(f"{file} is missing", expected="both files of the model", got="one of them")
    return pair


def _params(path: Path) -> dict[str, Any]:
    """The dict of a params file, checked."""
    try:
        data = read_input(path, most=_MAX_PARAMS)
    except OSError as error:
        raise SpecError(f"cannot read {path}", expected="a small pickle", got=error.strerror) from error
    found = read_pickle(data, of=f"{path}")
    if not isinstance(found, dict):
        raise SpecError(f"{path} is not what it is named", expected="a dict", got=type(found).__name__)
    _check_text(path, found)
    for name, most in _MOST.items():
        _require(path, name, type(found.get(name)) is int and 1 <= found[name] <= most, found, f"1..{most}")
    shape: Any = found.get("input_shape")
    sides = isinstance(shape, (tuple, list)) and len(shape) == 3 and all(type(side) is int for side in shape)
    fits = sides and shape[0] == 3 and all(MIN_FRAME_SIDE <= side <= MAX_SIDE for side in shape[1:])
    _require(path, "input_shape", fits, found, f"(3, H, W), sides {MIN_FRAME_SIDE}..{MAX_SIDE}")
    name = "anomaly_scorer_num_nn"
    found.setdefault(name, 1)
    _require(path, name, type(found[name]) is int and found[name] >= 1, found, "1 or more")
    return found


def _check_text(path: Path, found: dict[Any, Any]) -> None:
    name, layers = found.get("backbone.name"), found.get("layers_to_extract_from")
    _require(path, "backbone.name", isinstance(name, str), found, "text")
    named = isinstance(layers, (tuple, list)) and layers and all(isinstance(layer, str) for layer in layers)
    _require(path, "layers_to_extract_from", bool(named), found, "names of layers")
    if name not in _TORCHVISION:
        raise BackboneError(
            f"the network {name!r:.80} of {path.name} is not one of torchvision",
            expected=", ".join(_TORCHVISION),
            got=f"{name:.80}",
            remedy="Its weights come from another package, and are not in the file. Export with your own ONNX file of "
            "the network, from the good images: python -m export --backbone FILE.onnx.",
        )


def _require(path: Path, name: str, fits: bool, found: dict[Any, Any], expected: str) -> None:
    if not fits:
        got = reprlib.repr(found[name]) if name in found else "no such key"  # a file's own value may have no end
        raise SpecError(f"{name} of {path} cannot be used", expected=expected, got=got)
