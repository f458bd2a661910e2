"""anomalib's PatchCore with given weights, and its OpenVINO path. Runs in the peer's environment; imports nothing of
edge-ad.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from anomalib.models import Patchcore
from torch import nn

from bench.peer import LAYERS

Weights = dict[str, torch.Tensor]


def patchcore(backbone: str, weights: Weights | None, size: int, bank: np.ndarray) -> nn.Module:
    """The whole model, from an image of any size to score and map, with these (N, D) rows as its memory bank.

    Args:
        weights: state dict up to layer3; None leaves the filters random.
        size: side of the input.
    """
    pre = Patchcore.configure_pre_processor(image_size=(size, size))
    model = Patchcore(backbone, LAYERS, pre_trained=False, pre_processor=pre, post_processor=False)
    if weights is not None:
        load_weights(model.model.feature_extractor, weights)
    model.eval()
    model.model.memory_bank = torch.from_numpy(bank)
    return model


def openvino_call(model: nn.Module, side: int, config: dict[str, Any]) -> Callable[[np.ndarray], float]:
    """anomalib's OpenVINOInferencer: a (side, side, 3) u8 RGB frame to its score, the map computed with it.

    The graph is written by torch's TorchScript exporter, because anomalib 2.7's own export bakes a batch of 2 with
    torch 2.15.
    """
    from anomalib.deploy import OpenVINOInferencer

    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # it caches in the working folder
        example = (torch.zeros(1, 3, side, side),)
        names = {"input_names": ["input"], "output_names": ["pred_score", "anomaly_map"]}
        torch.onnx.export(model, example, "model.onnx", opset_version=17, dynamo=False, **names)
        peer = OpenVINOInferencer("model.onnx", device="CPU", config=config)

    def predict(frame: np.ndarray) -> float:
        # predict() less its last line, which trips over the names of this graph's outputs
        out = peer.model({peer.input_blob.any_name: peer.pre_process(frame)})
        return float(np.asarray(out[0]).reshape(-1)[0])

    return predict


def load_weights(extractor: nn.Module, weights: Weights) -> None:
    """Loads a state dict up to layer3 into anomalib's extractor, whose names have a prefix."""
    target = extractor.state_dict()
    prefix = next(key for key in target if key.endswith("conv1.weight")).split("conv1.weight")[0]
    loaded = {prefix + key: value for key, value in weights.items() if prefix + key in target}
    missing = [key for key in set(target) - set(loaded) if "layer4" not in key and "fc." not in key]
    if missing:
        raise SystemExit(f"the weights do not cover the peer's backbone: {missing[:3]}")
    extractor.load_state_dict(loaded, strict=False)
