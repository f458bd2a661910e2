"""A part, a backbone and a bundle that are small enough for a test: no torch, no download, a second of work."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

SIZE = 64  # of the tiny frames


def good_frame(seed: int, size: int = SIZE) -> np.ndarray:
    """(size, size, 3) u8 BGR: a disc on a textured ground, somewhat moved, lit and noisy."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    ground = 90 + 12 * np.sin(18 * x + 3 * np.sin(9 * y))
    centre = 0.5 + generator.uniform(-0.02, 0.02, 2)
    disc = np.hypot(y - centre[0], x - centre[1]) < 0.3
    frame = np.stack([ground, ground * 0.8, ground * 1.1], axis=-1)
    frame[disc] = (60, 120, 180)
    frame = frame * generator.uniform(0.95, 1.05) + generator.normal(0, 3, frame.shape)
    return np.clip(frame, 0, 255).astype(np.uint8)


def bad_frame(seed: int, size: int = SIZE) -> np.ndarray:
    """A good frame with a bright scratch across the disc."""
    frame = good_frame(seed, size)
    cv2.line(
        frame,
        (int(0.4 * size), int(0.4 * size)),
        (int(0.62 * size), int(0.55 * size)),
        (250, 250, 250),
        size // 16,
    )
    return frame


def picture(path: Path, frame: np.ndarray) -> Path:
    """Writes a frame, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), frame)
    return path


def write_category(folder: Path, goods: int = 12, tests: int = 4, size: int = SIZE) -> Path:
    """A category in MVTec AD layout; defects have masks."""
    for part, count, start, make in (
        ("train/good", goods, 0, good_frame),
        ("test/good", tests, 1000, good_frame),
        ("test/scratch", tests, 2000, bad_frame),
    ):
        (folder / part).mkdir(parents=True)
        for i in range(count):
            cv2.imwrite(str(folder / part / f"{i:03d}.png"), make(start + i, size))
    masks = folder / "ground_truth" / "scratch"
    masks.mkdir(parents=True)
    for i in range(tests):
        apart = cv2.absdiff(bad_frame(2000 + i, size), good_frame(2000 + i, size)).max(axis=2) > 20
        cv2.imwrite(str(masks / f"{i:03d}_mask.png"), apart.astype(np.uint8) * 255)
    return folder


def write_backbone(path: Path, channels: tuple[int, int] = (8, 16)) -> Path:
    """An ONNX backbone of seeded random filters: strides 4 and 8, outputs "fine" and "coarse"."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(7)
    weights, nodes = [], []
    name, depth = "image", 3
    for i, (width, stride, out) in enumerate(((8, 2, "a"), (channels[0], 2, "fine"), (channels[1], 2, "coarse"))):
        kernel = generator.normal(0, 1.5 / np.sqrt(9 * depth), (width, depth, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"w{i}"))
        weights.append(numpy_helper.from_array(generator.normal(0, 0.1, width).astype(np.float32), f"b{i}"))
        conv = helper.make_node(
            "Conv",
            [name, f"w{i}", f"b{i}"],
            [f"c{i}"],
            kernel_shape=[3, 3],
            pads=[1] * 4,
            strides=[stride] * 2,
        )
        nodes += [conv, helper.make_node("Relu", [f"c{i}"], [out])]
        name, depth = out, width
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "h", "w"])
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("fine", "coarse")]
    graph = helper.make_graph(nodes, "tiny", [image], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path


def write_material(folder: Path, **category: int) -> Path:
    """What `tiny_options` exports, in a folder: a category `part`, as `write_category` makes it, and a backbone."""
    write_category(folder / "part", **category)
    write_backbone(folder / "backbone.onnx")
    return folder


def tiny_options(folder: Path, **changes: object):  # type: ignore[no-untyped-def]
    """Export options for what `write_material` has put into `folder`."""
    from export.options import Options

    values: dict[str, object] = {
        "category": str(folder / "part"),
        "out": folder / "part.bundle",
        "backbone": str(folder / "backbone.onnx"),
        "layers": ("fine", "coarse"),
        "input_size": (SIZE, SIZE),
        "coreset": 0.1,
        "resize": "area",
        "local_scale": 0.0,
        "smooth": 0.0,
        "effort": "quick",
    }
    return Options(**{**values, **changes})
