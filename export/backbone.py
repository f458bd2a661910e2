"""Backbones: torchvision networks with trained weights, turned into ONNX. The only file that imports torch.

Over 400 lines: so all that needs torch for a backbone stands here.
"""

from __future__ import annotations

import copy
import difflib
import hashlib
import http.client
import io
import math
import os
import pickle
import re
import types
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from edge_ad.errors import BackboneError
from edge_ad.spec import Size
from edge_ad.system.inputs import read_input
from export.tokens import stride_for

try:
    import torch
    import torchvision
    from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names
    from torchvision.models.vision_transformer import VisionTransformer
except ImportError as error:
    raise BackboneError(
        "torchvision backbones need torch and torchvision",
        expected="both installed on the workstation",
        got=str(error),
        remedy="Run pip install 'edge-ad[export]', or give an ONNX file: --backbone my.onnx --layers a b.",
    ) from error

_STRIDES = (8, 16)  # of the feature maps that PatchCore uses
_PROBE = 256  # pixels: side of the image that is put through a network to find them
_POSITIONS = "encoder.pos_embedding"  # of a vision transformer: (1, 1 + n * n, C)
MIRROR_VARIABLE = "EDGE_AD_WEIGHTS_URL"
Brought = tuple[Mapping[str, np.ndarray], str, str]


@dataclass(frozen=True)
class TorchBackbone:
    """A network cut after its last needed layer, with trained weights.

    Attributes:
        extractor: gives {layer: (N, C, h, w)}.
        layers: the given layers, or the defaults of the network.
        weights: origin of the weights, for a reader.
        sha256: SHA-256 of the weights file.
        patch: side of the patches of a vision transformer; None for other networks.
    """

    extractor: torch.nn.Module
    layers: tuple[str, ...]
    weights: str
    sha256: str
    patch: int | None = None

    @property
    def stride(self) -> int:
        """Sides of inputs should be multiples of it."""
        return stride_for(self.patch or 1)

    def at(self, size: Size) -> torch.nn.Module:
        """The extractor for an input of (H, W). A vision transformer was trained with positions of another grid, so
        these are interpolated (bicubic, as DINOv2 does it).
        """
        if self.patch is None:
            return self.extractor
        grid = (size[0] // self.patch, size[1] // self.patch)
        positions = self.extractor.get_parameter(_POSITIONS).detach()
        trained = math.isqrt(positions.shape[1] - 1)
        if grid == (trained, trained):
            return self.extractor
        first, places = positions[:, :1], positions[:, 1:].reshape(1, trained, trained, -1).permute(0, 3, 1, 2)
        moved = torch.nn.functional.interpolate(places, grid, mode="bicubic", align_corners=False)
        found = copy.deepcopy(self.extractor)
        encoder, name = _POSITIONS.split(".")
        moved = torch.cat([first, moved.flatten(2).permute(0, 2, 1)], dim=1)
        setattr(found.get_submodule(encoder), name, torch.nn.Parameter(moved))
        return found

    def to_onnx(self, size: Size) -> onnx.ModelProto:
        """ONNX with input (1, 3, H, W) and one output for each layer, with the layer's name."""

        class Outputs(torch.nn.Module):
            def __init__(self, extractor: torch.nn.Module, layers: Sequence[str]) -> None:
                super().__init__()
                self.extractor, self.layers = extractor, layers

            def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
                features = self.extractor(image)
                return tuple(features[layer] for layer in self.layers)

        buffer = io.BytesIO()
        try:
            torch.onnx.export(
                Outputs(self.at(size), self.layers).eval(),
                (torch.zeros(1, 3, *size),),
                buffer,
                input_names=["image"],
                output_names=list(self.layers),
                opset_version=18,
                dynamo=True,
                verbose=False,
                external_data=False,
            )
        except Exception as error:  # the exporter's own exceptions have no public base
            raise BackboneError("torch cannot export this network to ONNX", got=str(error).strip()[:500]) from error
        return onnx.load_from_string(buffer.getvalue())

    def features(self, tensor: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> list[np.ndarray]:
        """The layers of a (1, H, W, 3) u8 BGR tensor, by torch: the parity reference."""
        image = torch.from_numpy(tensor[..., ::-1].copy()).permute(0, 3, 1, 2).float() / 255
        image = (image - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
        with torch.no_grad():
            found = self.at((tensor.shape[1], tensor.shape[2]))(image)
        return [found[layer].numpy() for layer in self.layers]


_MAX_WEIGHTS = 2**34  # bytes; the largest of torchvision has 2**31


def torchvision_backbone(
    name: str, layers: Sequence[str] | None, weights: Path | None, brought: Brought | None = None
) -> TorchBackbone:
    """A torchvision network by name.

    Args:
        name: as in `torchvision.models.list_models()`.
        layers: names of its nodes; None takes the defaults for the network.
        weights: file of a state dict that has at least what the layers need, or a folder with one; None takes
            torchvision's cache or download.
        brought: a state dict as arrays, with its source and SHA-256, in place of `weights`.

    Raises:
        BackboneError: no such network or layer; weights missing, unreadable, or not covering the layers.
    """
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        close = difflib.get_close_matches(name, known, 3)
        raise BackboneError(
            f"there is no backbone named {name}",
            expected="a torchvision classification model or an .onnx file",
            got=repr(name),
            remedy=f"Did you mean {' or '.join(close)}?" if close else "See torchvision.models.list_models().",
        )
    model = torchvision.models.get_model(name, weights=None).eval()
    transformer = isinstance(model, VisionTransformer)
    if transformer:
        model._process_input = types.MethodType(_tokens_of_any_size, model)
    chosen = tuple(layers) if layers else _usual_layers(name, model)
    nodes = get_graph_node_names(model)[1]
    for layer in chosen:
        if not any(node == layer or node.startswith(layer + ".") for node in nodes):
            parts = [node.split(".") for node in nodes]
            names = {".".join(part[:length]): None for part in parts for length in range(1, len(part) + 1)}
            close = difflib.get_close_matches(layer, names, 4)
            raise BackboneError(
                f"{name} has no layer {layer}",
                expected=f"a node such as {', '.join(close or nodes[-4:])}",
                got=repr(layer),
            )
    extractor = create_feature_extractor(model, {layer: layer for layer in chosen}).eval()
    if weights is not None and weights.is_dir():
        weights = _weights_of(name, weights)
    if brought is not None:
        state, source, digest = {k: torch.from_numpy(v) for k, v in brought[0].items()}, *brought[1:]
    else:
        state, source, digest = _read_state(weights) if weights else _download_state(name)
    _load(extractor, state, source)
    return TorchBackbone(extractor, chosen, source, digest, model.patch_size if transformer else None)


def weights_in(folder: Path) -> dict[str, Path]:
    """Torchvision network -> the file of its weights, of those whose weights are in a folder, by name.

    A file is named as torchvision names it, or begins with the name of the network: resnet18-f37072fd.pth,
    resnet18_mine.pth.

    Raises:
        BackboneError: the folder cannot be read, has none, or has several of one network.
    """
    known = torchvision.models.list_models(module=torchvision.models)
    usual = {
        weights.url.rpartition("/")[2]: name
        for name in known
        for weights in torchvision.models.get_model_weights(name).__members__.values()
    }
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix in (".pth", ".pt"))
    except OSError as error:
        raise BackboneError(f"cannot read the folder {folder}", expected="weights", got=error.strerror) from error
    found: dict[str, Path] = {}
    for file in files:
        alike = [name for name in known if re.fullmatch(re.escape(name) + r"([^A-Za-z0-9].*)?", file.stem)]
        name = usual.get(file.name) or max(alike, key=len, default=None)
        if name in found:
            raise BackboneError(
                f"several files in {folder} may be the weights of {name}",
                expected="one",
                got=f"{found[name].name} and {file.name}",
                remedy=f"Take one away, or say which: --backbone {name} --weights FILE.",
            )
        if name is not None:
            found[name] = file
    if not found:
        raise BackboneError(
            f"there are no weights of a torchvision network in {folder}",
            expected="files named as torchvision names them, such as resnet18-f37072fd.pth",
            got=", ".join(path.name for path in files[:5]) or "no .pth file",
        )
    return dict(sorted(found.items()))


def _weights_of(name: str, folder: Path) -> Path:
    found = weights_in(folder)
    if name not in found:
        raise BackboneError(
            f"there are no weights of {name} in {folder}",
            expected=f"a file such as {name}.pth",
            got=", ".join(path.name for path in found.values()),
        )
    return found[name]


def _tokens_of_any_size(model: VisionTransformer, image: torch.Tensor) -> torch.Tensor:
    """What `VisionTransformer` does with an image, without asking for the size that it was trained with."""
    tokens: torch.Tensor = model.conv_proj(image).flatten(2).permute(0, 2, 1)
    return tokens


def _usual_layers(name: str, model: torch.nn.Module) -> tuple[str, ...]:
    """The last parts of a network that give strides 8 and 16; of a vision transformer, the blocks at a half and at
    three quarters of its depth.
    """
    if isinstance(model, VisionTransformer):
        blocks = len(model.encoder.layers)
        return tuple(f"encoder.layers.encoder_layer_{last - 1}" for last in (blocks // 2, blocks * 3 // 4))
    found: dict[int, str] = {}

    def note(layer: str) -> Callable[[object, object, object], None]:
        def hook(_: object, __: object, output: object) -> None:
            if isinstance(output, torch.Tensor) and output.ndim == 4:
                for stride in _STRIDES:
                    if (_PROBE // stride,) * 2 in (tuple(output.shape[2:]), tuple(output.shape[1:3])):
                        found[stride] = layer

        return hook

    parts = [(layer, part) for layer, part in model.named_modules() if layer and layer.count(".") < 2]
    hooks = [part.register_forward_hook(note(layer)) for layer, part in parts]
    try:
        with torch.no_grad():
            model(torch.zeros(1, 3, _PROBE, _PROBE))
    except (RuntimeError, ValueError, AssertionError) as error:  # a network for one input size
        raise _no_usual_layers(name) from error
    finally:
        for hook in hooks:
            hook.remove()
    if len(found) < len(_STRIDES):
        raise _no_usual_layers(name)
    return tuple(found[stride] for stride in _STRIDES)


def _no_usual_layers(name: str) -> BackboneError:
    return BackboneError(
        f"no layers are known for {name}",
        expected="--layers with two of its nodes, of strides 8 and 16",
        got="none",
        remedy=f"See torchvision.models.feature_extraction.get_graph_node_names of {name}.",
    )


def _load(extractor: torch.nn.Module, state: dict[str, torch.Tensor], source: str) -> None:
    """Loads what the cut network needs. Keys after the cut are ignored; a missing key before it is an error."""
    wanted = {k: v for k, v in extractor.state_dict().items() if not k.endswith("num_batches_tracked")}
    _fit_positions(extractor, wanted, state)
    missing = [key for key in wanted if key not in state]
    if missing:
        raise BackboneError(
            f"the weights {source} do not cover the layers",
            expected=f"{len(wanted)} tensors before the cut",
            got=f"{len(missing)} missing, first {', '.join(missing[:3])}",
            remedy="Give the weights of this network, or earlier --layers.",
        )
    foreign = [key for key in wanted if not _plain(state[key])]
    if foreign:
        raise BackboneError(
            f"the weights {source} are of a kind that this network does not run with",
            expected="dense tensors of float64, float32, float16 or bfloat16",
            got=f"{foreign[0]} of {_kind(state[foreign[0]])}",
            remedy="Save them as float32: {k: v.float() for k, v in model.state_dict().items()}.",
        )
    wrong = [k for k, v in wanted.items() if state[k].shape != v.shape]
    if wrong:
        key = wrong[0]
        raise BackboneError(
            f"the weights {source} are of another network",
            expected=f"{key} of shape {tuple(wanted[key].shape)}",
            got=tuple(state[key].shape),
        )
    if not all(bool(torch.isfinite(state[key].float()).all()) for key in wanted):
        raise BackboneError(f"the weights {source} hold NaN or Inf", expected="finite numbers", got="others")
    extractor.load_state_dict({key: state[key] for key in wanted}, strict=False)


def _plain(tensor: torch.Tensor) -> bool:
    """Whether a tensor holds ordinary numbers here: not sparse, nested, quantised, complex, or without data."""
    dense = tensor.layout is torch.strided and not tensor.is_nested and not tensor.is_meta
    return dense and tensor.dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def _kind(tensor: torch.Tensor) -> str:
    layout = "nested" if tensor.is_nested else "no data" if tensor.is_meta else str(tensor.layout)
    return f"{tensor.dtype}, {layout}".replace("torch.", "")


def _fit_positions(extractor: torch.nn.Module, wanted: dict[str, torch.Tensor], state: dict[str, torch.Tensor]) -> None:
    """Makes room for the positions of a vision transformer that was trained with another grid."""
    own, theirs = wanted.get(_POSITIONS), state.get(_POSITIONS)
    if own is None or theirs is None or not _plain(theirs) or theirs.ndim != 3 or theirs.shape[2] != own.shape[2]:
        return
    if math.isqrt(theirs.shape[1] - 1) ** 2 == theirs.shape[1] - 1:
        encoder, name = _POSITIONS.split(".")
        setattr(extractor.get_submodule(encoder), name, torch.nn.Parameter(torch.zeros_like(theirs)))
        wanted[_POSITIONS] = theirs


def _read_state(path: Path) -> tuple[dict[str, torch.Tensor], str, str]:
    try:
        data = read_input(path, most=_MAX_WEIGHTS)
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except OSError as error:
        raise BackboneError(
            f"cannot read the weights {path}",
            expected="a file",
            got=error.strerror,
            remedy="Check --weights.",
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # of many kinds: a broken file may hold any instruction of pickle, with any arguments
        raise BackboneError(
            f"{path} is not a state dict",
            expected="what torch.save(model.state_dict(), path) writes",
            got=_unread(error),
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise BackboneError(f"{path} is not a state dict", expected="names and tensors", got=type(state).__name__)
    return state, path.name, hashlib.sha256(data).hexdigest()


def _unread(error: Exception) -> str:
    """What was found in place of a state dict, for a reader."""
    if isinstance(error, pickle.UnpicklingError):  # torch's text tells how to run the code of such a file
        return "no file of torch.save, or one with other things than tensors; nothing of it was run"
    if isinstance(error, EOFError):
        return "a file that is empty, or ends too early"
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _download_state(name: str) -> tuple[dict[str, torch.Tensor], str, str]:
    """Torchvision's ImageNet weights, from its cache or its server (or the mirror that the variable names)."""
    choices = torchvision.models.get_model_weights(name).__members__
    choice = choices.get("IMAGENET1K_V1") or choices["DEFAULT"]
    url: str = choice.url
    if os.environ.get(MIRROR_VARIABLE):
        url = os.environ[MIRROR_VARIABLE].rstrip("/") + "/" + url.rpartition("/")[2]
    cached = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not cached.exists():
        try:
            cached.parent.mkdir(parents=True, exist_ok=True)
            urllib.request.Request(url)  # refuses a bad URL before torch makes a temporary file
            torch.hub.download_url_to_file(url, str(cached), hash_prefix=_hash_prefix(cached.name))
        except (OSError, RuntimeError, ValueError, http.client.HTTPException) as error:
            # URLError is an OSError; ValueError: no URL; RuntimeError: another hash than the name says
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            raise BackboneError(
                f"cannot download the weights of {name}",
                expected=url,
                got=str(error).strip(),
                remedy=f"Three ways out: give a file with --weights FILE; put {cached.name} into {cached.parent}; "
                f"or name a mirror that you reach in the environment variable {MIRROR_VARIABLE}.",
            ) from error
    state, _, digest = _read_state(cached)
    return state, f"torchvision {choice.name} ({cached.name})", digest


def _hash_prefix(filename: str) -> str | None:
    """The start of the SHA-256 that torchvision writes into the names of its files: resnet18-f37072fd.pth."""
    stem = filename.rpartition(".")[0]
    prefix = stem.rpartition("-")[2]
    return prefix if len(prefix) >= 8 and set(prefix) <= set("0123456789abcdef") else None
