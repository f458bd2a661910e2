"""Graphs of the form that anomalib exports, by hand on a small network: PatchCore and PaDiM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_ad.engines import run_once
from tests.tiny import SIZE, good_frame, write_backbone

DIM, THRESHOLD, SPREAD = 24, 1.5, 4.0


def graph(folder: Path, bank: np.ndarray, *, post: bool = True, power: int = 1) -> onnx.ModelProto:
    """Pixels in 0..1, resized and normalised, a backbone, patches, distances to the bank, the largest, normalised."""
    net = onnx.load(str(write_backbone(folder / "net.onnx"))).graph
    node, made = helper.make_node, list(net.node)
    made[0].input[0] = "normalised"
    arrays = {
        "bank": bank,
        "mean": np.float32([0.485, 0.456, 0.406]).reshape(3, 1, 1),
        "std": np.float32([0.229, 0.224, 0.225]).reshape(3, 1, 1),
        "minus_two": np.float32(-2),
        "threshold": np.float32(THRESHOLD),
        "spread": np.float32(SPREAD),
        "half": np.float32(0.5),
        "zero": np.float32(0),
        "one": np.float32(1),
    }
    integers = {
        "image_size": [1, 3, SIZE, SIZE],
        "grid_size": [1, 16, SIZE // 4, SIZE // 4],
        "rows": [-1, DIM],
        "plane": [1, 1, SIZE // 4, SIZE // 4],
        "last": [1],
        "all": [0],
    }
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in arrays.items()]
    weights += [numpy_helper.from_array(np.int64(value), name) for name, value in integers.items()]
    pool = {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": 1}
    nodes = [
        node("Resize", ["input", "", "", "image_size"], ["resized"], mode="linear"),
        node("Sub", ["resized", "mean"], ["centred"]),
        node("Div", ["centred", "std"], ["normalised"]),
        *made,
        node("AveragePool", ["fine"], ["pooled_fine"], **pool),
        node("AveragePool", ["coarse"], ["pooled_coarse"], **pool),
        node("Resize", ["pooled_coarse", "", "", "grid_size"], ["up"], mode="linear"),
        node("Concat", ["pooled_fine", "up"], ["cat"], axis=1),
        node("Transpose", ["cat"], ["permuted"], perm=[0, 2, 3, 1]),
        node("Reshape", ["permuted", "rows"], ["embedding"]),
        node("Transpose", ["bank"], ["turned"], perm=[1, 0]),
        node("MatMul", ["embedding", "turned"], ["product"]),
        node("Mul", ["product", "minus_two"], ["twice"]),
        node("Mul", ["embedding", "embedding"], ["x2"]),
        node("ReduceSum", ["x2", "last"], ["x_norm"]),
        node("Mul", ["turned", "turned"], ["y2"]),
        node("ReduceSum", ["y2", "all"], ["y_norm"]),
        node("Add", ["twice", "x_norm"], ["first"]),
        node("Add", ["first", "y_norm"], ["squares"]),
        node("Clip", ["squares", "zero"], ["clipped"]),
        node("Sqrt" if power == 1 else "Identity", ["clipped"], ["distances"]),
        node("ReduceMin", ["distances"], ["nearest"], axes=[1], keepdims=0),
        node("ReduceMax", ["nearest"], ["raw" if post else "pred_score"], axes=[0], keepdims=1),
        node("Reshape", ["nearest", "plane"], ["patch_map"]),
        node("Resize", ["patch_map", "", "", "map_size"], ["anomaly_map"], mode="nearest"),
    ]
    weights.append(numpy_helper.from_array(np.int64([1, 1, SIZE, SIZE]), "map_size"))
    if post:
        nodes += [
            node("Sub", ["raw", "threshold"], ["over"]),
            node("Div", ["over", "spread"], ["scaled"]),
            node("Add", ["scaled", "half"], ["moved"]),
            node("Clip", ["moved", "zero", "one"], ["pred_score"]),
            node("Greater", ["pred_score", "half"], ["pred_label"]),
        ]
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, "h", "w"])
    outputs = [helper.make_tensor_value_info("pred_score", TensorProto.FLOAT, [1])]
    outputs.append(helper.make_tensor_value_info("anomaly_map", TensorProto.FLOAT, [1, 1, SIZE, SIZE]))
    whole = helper.make_graph(nodes, "patchcore", [image], outputs, [*net.initializer, *weights])
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def bank(folder: Path) -> np.ndarray:
    """Patches of two good frames."""
    model = graph(folder, np.zeros((2, DIM), np.float32))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, None))
    data = model.SerializeToString()
    found = [run_once(data, "input", pixels(good_frame(seed)))[0] for seed in (0, 1)]
    return np.ascontiguousarray(np.concatenate(found)[::5])


def pixels(frame: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(frame[None, ..., ::-1].transpose(0, 3, 1, 2)).astype(np.float32) / np.float32(255)


CHOSEN, SIGMA = np.int64([3, 20, 7, 11, 0, 16]), 2.0  # channels of 24, in the order of anomalib's `randperm`
CELLS = SIZE // 4


def kernel(sigma: float = SIGMA) -> np.ndarray:
    """The kernel (1, 1, K, K) of anomalib's GaussianBlur2d."""
    reach = int(4 * sigma + 0.5)
    line = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return (np.outer(line, line) / line.sum() ** 2).astype(np.float32)[None, None]


def padim_graph(
    folder: Path,
    means: np.ndarray,
    inverses: np.ndarray,
    *,
    post: bool = True,
    map_only: bool = False,
    blur: np.ndarray | None = None,
) -> onnx.ModelProto:
    """The same for PaDiM: means (C, R), inverse covariances (R, C, C).

    Args:
        map_only: as anomalib 1.x has it: the map is the only output, and neither it nor the score is normalised.
    """
    net = onnx.load(str(write_backbone(folder / "net.onnx"))).graph
    node, made, blur = helper.make_node, list(net.node), kernel() if blur is None else blur
    made[0].input[0] = "normalised"
    count, reach = len(CHOSEN), blur.shape[-1] // 2
    arrays = {
        "means": means,
        "inverses": inverses,
        "blur": blur,
        "mean": np.float32([0.485, 0.456, 0.406]).reshape(3, 1, 1),
        "std": np.float32([0.229, 0.224, 0.225]).reshape(3, 1, 1),
        "threshold": np.float32(THRESHOLD),
        "spread": np.float32(SPREAD),
        "half": np.float32(0.5),
        "zero": np.float32(0),
        "one": np.float32(1),
    }
    integers = {
        "image_size": [1, 3, SIZE, SIZE],
        "grid_size": [1, 16, CELLS, CELLS],
        "chosen": CHOSEN,
        "flat": [1, count, CELLS**2],
        "plane": [1, 1, CELLS, CELLS],
        "map_size": [1, 1, SIZE, SIZE],
        "pads": [0, 0, reach, reach, 0, 0, reach, reach],
        "last": [2],
    }
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in arrays.items()]
    weights += [numpy_helper.from_array(np.int64(value), name) for name, value in integers.items()]
    nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    smooth = "anomaly_map" if map_only else "smooth"
    nodes = [
        node("Resize", ["input", "", "", "image_size"], ["resized"], mode="linear"),
        node("Sub", ["resized", "mean"], ["centred"]),
        node("Div", ["centred", "std"], ["normalised"]),
        *made,
        node("Resize", ["coarse", "", "", "grid_size"], ["up"], **nearest),
        node("Concat", ["fine", "up"], ["cat"], axis=1),
        node("Gather", ["cat", "chosen"], ["embedding"], axis=1),
        node("Reshape", ["embedding", "flat"], ["vectors"]),
        node("Sub", ["vectors", "means"], ["apart"]),
        node("Transpose", ["apart"], ["delta"], perm=[2, 0, 1]),
        node("MatMul", ["delta", "inverses"], ["turned"]),
        node("Mul", ["turned", "delta"], ["parts"]),
        node("ReduceSum", ["parts", "last"], ["sums"], keepdims=0),
        node("Transpose", ["sums"], ["line"], perm=[1, 0]),
        node("Reshape", ["line", "plane"], ["squares"]),
        node("Max", ["squares", "zero"], ["clamped"]),
        node("Sqrt", ["clamped"], ["distances"]),
        node("Resize", ["distances", "", "", "map_size"], ["large"], mode="linear"),
        node("Pad", ["large", "pads"], ["padded"], mode="reflect"),
        node("Conv", ["padded", "blur"], [smooth]),
    ]
    outputs = [helper.make_tensor_value_info("anomaly_map", TensorProto.FLOAT, [1, 1, SIZE, SIZE])]
    if not map_only:
        nodes.append(node("ReduceMax", ["smooth"], ["raw" if post else "pred_score"], axes=[2, 3], keepdims=0))
        nodes.append(node("Identity", ["smooth"], ["anomaly_map"]))
        outputs.append(helper.make_tensor_value_info("pred_score", TensorProto.FLOAT, [1, 1]))
    if post and not map_only:
        nodes += [
            node("Sub", ["raw", "threshold"], ["over"]),
            node("Div", ["over", "spread"], ["scaled"]),
            node("Add", ["scaled", "half"], ["moved"]),
            node("Clip", ["moved", "zero", "one"], ["pred_score"]),
            node("Greater", ["pred_score", "half"], ["pred_label"]),
        ]
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, "h", "w"])
    whole = helper.make_graph(nodes, "padim", [image], outputs, [*net.initializer, *weights])
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def gaussians(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Means (C, R) and inverse covariances (R, C, C) of the patches of good frames."""
    count = len(CHOSEN)
    empty = np.zeros((count, CELLS**2), np.float32), np.zeros((CELLS**2, count, count), np.float32)
    model = padim_graph(folder, *empty)
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("vectors", TensorProto.FLOAT, None))
    data = model.SerializeToString()
    found = np.concatenate([run_once(data, "input", pixels(good_frame(seed)))[0] for seed in range(8)])
    apart = (found - found.mean(axis=0)).transpose(2, 0, 1).astype(np.float64)
    covariance = apart.transpose(0, 2, 1) @ apart / (len(found) - 1) + 0.01 * np.eye(count)
    return found.mean(axis=0), np.linalg.inv(covariance).astype(np.float32)
