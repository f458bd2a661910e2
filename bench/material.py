"""The input of the benches: bundles that they make themselves, and frames of a camera's size.

With the development data (EDGE_AD_SHARED, by default ../shared) that is the real bottle category by resnet18, or by
its ONNX backbone where torch is missing; elsewhere a drawn category by a network of resnet18's size with seeded random
filters, which costs what the trained one costs. Nothing here is imported where a bundle is given.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle.file import Bundle
from edge_ad.bundle.probes import load_probes

CAMERA = (1024, 1024)  # (H, W) of the frames
Pixels = NDArray[np.uint8]

# What the benches of speed and parity fix, so that they compare like with like: nothing is chosen, scaled or smoothed.
FIXED: dict[str, object] = {
    "input_size": (256, 256),
    "resize": "area",
    "coreset": 0.1,
    "local_scale": 0.0,
    "smooth": 0.0,
    "effort": "quick",
}


@dataclass(frozen=True)
class Category:
    """A category to export, the export's options for its backbone, and some test images with their labels."""

    folder: Path
    backbone: dict[str, object]
    test: tuple[tuple[Path, bool], ...]  # (image, whether it shows a defect)

    def frames(self) -> list[tuple[Pixels, bool]]:
        """Test images as (1024, 1024, 3) u8 BGR frames, with their labels."""
        return [(enlarge(cv2.imread(str(path), cv2.IMREAD_COLOR)), defect) for path, defect in self.test]


def enlarge(image: Pixels) -> Pixels:
    """`image` at a camera's size."""
    return cv2.resize(image, CAMERA[::-1], interpolation=cv2.INTER_CUBIC)  # type: ignore[return-value]


def shared_folder() -> Path | None:
    """The development data, if it is there."""
    folder = Path(os.environ.get("EDGE_AD_SHARED", Path(__file__).parents[2] / "shared"))
    return folder if (folder / "data" / "bottle").is_dir() else None


def find_category(scratch: Path) -> Category:
    """The real bottle where the development data is, else a drawn category under `scratch`."""
    shared = shared_folder()
    if shared is None:
        return drawn_category(scratch)
    folder, weights = shared / "data" / "bottle", shared / "weights"
    if importlib.util.find_spec("torchvision"):
        backbone: dict[str, object] = {"backbone": "resnet18", "weights": weights / "resnet18_to_layer3.pth"}
    else:
        backbone = _onnx_backbone(weights / "resnet50v2_to_stage3.onnx")
    kinds = (("good", False), ("broken_large", True), ("good", False), ("broken_small", True))
    test = tuple((folder / "test" / kind / f"{i:03d}.jpg", defect) for i, (kind, defect) in enumerate(kinds))
    return Category(folder, backbone, tuple((path, defect) for path, defect in test if path.exists()))


def drawn_category(scratch: Path) -> Category:
    """A category of drawn images, and a backbone of random filters, both under `scratch`."""
    from tests.tiny import write_category

    folder = write_category(scratch / "drawn", goods=24, tests=2, size=256)
    network = write_network(scratch / "network.onnx")
    kinds = (("good", False), ("scratch", True))
    test = tuple((folder / "test" / kind / f"{i:03d}.png", defect) for i in range(2) for kind, defect in kinds)
    return Category(folder, {"backbone": str(network), "layers": ("layer2", "layer3")}, test)


def _onnx_backbone(path: Path) -> dict[str, object]:
    import onnx

    outputs = tuple(output.name for output in onnx.load(str(path)).graph.output)
    return {"backbone": str(path), "layers": outputs}


def flat_category(category: Category, folder: Path, count: int) -> Path:
    """A flat folder with links to the first `count` good images of a category."""
    from edge_ad.data.layouts import load_category

    folder.mkdir()
    for path in load_category(category.folder).train_good[:count]:
        (folder / path.name).symlink_to(path.absolute())
    return folder


def export(category: Category, out: Path, **options: object) -> Path:
    """Makes a bundle of the category with its backbone and `FIXED` settings; `options` are fields of
    `export.options.Options`.
    """
    from export.options import Options
    from export.pipeline import export_bundle

    values = {"category": str(category.folder), "out": out, **FIXED, **category.backbone, **options}
    return export_bundle(Options(**values)).bundle  # type: ignore[arg-type]


def probe_frames(path: Path) -> list[Pixels]:
    """Frames of a camera's size out of a bundle's golden probes, in the colour order that it declares.

    The last of several probes is noise, which no camera gives and which a search by a graph is slow on: left out.
    """
    with Bundle.open(path) as bundle:
        images = [probe.frame for probe in load_probes(bundle)]
        turned = bundle.manifest.frame.color_order == "rgb"
    frames = [enlarge(image) for image in images[: max(1, len(images) - 1)]]
    return [np.ascontiguousarray(frame[:, :, ::-1]) for frame in frames] if turned else frames


def write_random_weights(name: str, category: Category, folder: Path) -> Path:
    """A state dict of the torchvision model `name` with seeded random filters, kept in `folder` for the next run.

    The batch norms have the statistics of the category's test images: without, features of 50 layers grow past float.
    """
    out = folder / f"{name}-random.pth"
    if out.exists():
        return out
    import torch
    import torchvision

    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # a plain mean over all batches
    frames = np.stack([cv2.resize(frame, (256, 256))[:, :, ::-1] for frame, _ in category.frames()])
    with torch.no_grad():
        model.train()(torch.from_numpy(frames / 127.5 - 1).permute(0, 3, 1, 2).float())
    torch.save(model.state_dict(), out)
    return out


def write_network(path: Path) -> Path:
    """An ONNX network of resnet18's shape up to its third stage, batch norms folded, with seeded random filters."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    generator, weights, nodes = np.random.default_rng(0), [], []

    def convolve(source: str, name: str, channels: tuple[int, int], kernel: int, stride: int) -> str:
        inside, outside = channels
        shape = (outside, inside, kernel, kernel)
        values = generator.normal(0, np.sqrt(2 / (inside * kernel**2)), shape).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"{name}.w"))
        weights.append(numpy_helper.from_array(generator.normal(0, 0.1, outside).astype(np.float32), f"{name}.b"))
        options = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [kernel // 2] * 4}
        nodes.append(helper.make_node("Conv", [source, f"{name}.w", f"{name}.b"], [name], **options))
        return name

    def activate(source: str, name: str) -> str:
        nodes.append(helper.make_node("Relu", [source], [name]))
        return name

    def block(source: str, name: str, inside: int, outside: int, stride: int) -> str:
        first = activate(convolve(source, f"{name}.1", (inside, outside), 3, stride), f"{name}.r")
        second = convolve(first, f"{name}.2", (outside, outside), 3, 1)
        short = source if stride == 1 else convolve(source, f"{name}.0", (inside, outside), 1, stride)
        nodes.append(helper.make_node("Add", [second, short], [f"{name}.s"]))
        return activate(f"{name}.s", name)

    pool = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4}
    stem = activate(convolve("image", "stem", (3, 64), 7, 2), "stem.r")
    nodes.append(helper.make_node("MaxPool", [stem], ["pool"], **pool))
    last, width = "pool", 64
    for stage, outside in ((1, 64), (2, 128), (3, 256)):
        last = block(last, f"layer{stage}.0", width, outside, 1 if stage == 1 else 2)
        last, width = block(last, f"layer{stage}", outside, outside, 1), outside
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "h", "w"])
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("layer2", "layer3")]
    graph = helper.make_graph(nodes, "random resnet18", [image], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path
