"""The backbone `relief`: fixed filters for the relief of a surface, on normal maps. Nothing is trained, and no torch.

A normal map tells the slopes of a surface. Each filter answers to one small relief: the slopes that it would add are
its kernel. So a number of a patch says how much the slopes there look like that of a line, or of a hollow:

    lines      in 6 directions, 1.2 pixels wide and 5 long (sigma): scratches, cracks, steps
    hollows    round ones of 1.2, 2.2 and 3.6 pixels (sigma): pits, dents, bumps

    float32 NHWC frame -> normals -> slopes of a round hollow of .9 pixels, every second pixel -> the reliefs that are
                       made of such hollows -> (h*w, 9) float32, degrees

Two small convolutions do what one of 33 x 33 pixels would, with a tenth of the products.

Answers are signed and linear, and a kernel's sum is 0: what each place usually shows is a mean that a method such as
PaDiM subtracts, and how it usually changes, by small movements of the part or by light, is its covariance. A kernel
has length 1, so that independent noise of a degree in each pixel is a degree in each answer.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edge_ad.errors import BackboneError
from edge_ad.spec import Size, Tensor
from export.graph import IR_VERSION, OPSET, PatchGraph
from export.layout import Form
from export.network import Network
from export.options import RELIEF, Options
from export.tail import OUTPUT

STRIDE = 2  # pixels from one patch to the next
DIRECTIONS, LENGTH_PX = 6, 5.0  # of the lines; sigma along them
FINE_PX, ACROSS_PX = 0.9, 0.8  # sigma of the first convolution; of the lines in the second, across
HOLLOWS_PX = (1.2, 2.2, 3.6)  # sigma
_FIRST, _SECOND = 4, 6  # pixels, and patches, of the two kernels on each side of their middles
_REACH = _FIRST + STRIDE * _SECOND  # pixels
_INPUT = "frame"

Kernels = NDArray[np.float32]


class _Relief(Network):
    """See the module."""

    def graph(self, size: Size, *, floats: bool = False) -> PatchGraph:
        """The graph for a crop of (H, W) `size` of a normal map.

        Raises:
            BackboneError: the frames are no normal maps.
        """
        if not floats:
            raise BackboneError(
                f"the backbone {RELIEF} sees the slopes of a surface",
                expected="normal maps: stacks of pictures with --input photometric and --lights",
                got="pictures",
                remedy="Take another --backbone for pictures.",
            )
        return relief_graph(size)

    def reference_patches(self, tensor: Tensor, graph: PatchGraph) -> NDArray[np.float32]:
        """(h*w, 9) float32 patches of a (1, H, W, 3) tensor by OpenCV, to check the graph."""
        return relief_patches(tensor[0].astype(np.float32) / np.float32(127.5) - 1)


def relief_network(options: Options) -> Network:
    """The network of fixed filters.

    Raises:
        BackboneError: an option is for other backbones.
    """
    for flag, value in (("--weights", options.weights), ("--layers", options.layers)):
        if value is not None:
            raise BackboneError(
                f"the backbone {RELIEF} is one layer of fixed filters", expected=f"no {flag}", got=value
            )
    if options.distance != "euclidean":
        raise BackboneError(
            f"the backbone {RELIEF} gives degrees, of which the length counts",
            expected="--distance euclidean",
            got=options.distance,
        )
    half = (0.5, 0.5, 0.5)
    digest = hashlib.sha256(kernels().tobytes()).hexdigest()
    return _Relief(RELIEF, (RELIEF,), "fixed filters", digest, half, half, stride=STRIDE)


@cache
def kernels() -> Kernels:
    """(9, 2, 33, 33) float32: what is summed up of the normals' x and y for each answer, degrees. Read-only.

    The two convolutions in one.
    """
    first, second = _steps()
    found = np.zeros((len(second), 2, 2 * _REACH + 1, 2 * _REACH + 1))
    side = 2 * _FIRST + 1
    for y, x in np.ndindex(second.shape[1:]):
        part = (slice(None), slice(None), slice(STRIDE * y, STRIDE * y + side), slice(STRIDE * x, STRIDE * x + side))
        found[part] += second[:, y, x, None, None, None] * first
    whole = found.astype(np.float32)
    whole.flags.writeable = False
    return whole


@cache
def _steps() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(2, 9, 9) slopes of a round hollow of `FINE_PX`, and (9, 13, 13): how those of each relief are made of it."""
    y, x = np.mgrid[-_FIRST : _FIRST + 1, -_FIRST : _FIRST + 1].astype(np.float64)
    round_ = np.exp(-(x**2 + y**2) / 2 / FINE_PX**2)
    first = np.stack([x, -y]) * round_  # y of a normal is up
    y, x = np.mgrid[-_SECOND : _SECOND + 1, -_SECOND : _SECOND + 1].astype(np.float64) * STRIDE
    forms = []
    for turn in np.arange(DIRECTIONS) * np.pi / DIRECTIONS:
        along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        forms.append(np.exp(-((across / ACROSS_PX) ** 2 + (along / LENGTH_PX) ** 2) / 2))
    forms += [np.exp(-(x**2 + y**2) / 2 / (sigma**2 - FINE_PX**2)) for sigma in HOLLOWS_PX]
    second = np.stack(forms)
    for form in second:  # to length 1
        size = 2 * _REACH + 1
        whole = np.zeros((2, size, size))
        for (v, u), weight in np.ndenumerate(form):
            rows, columns = (
                slice(STRIDE * v, STRIDE * v + 2 * _FIRST + 1),
                slice(STRIDE * u, STRIDE * u + 2 * _FIRST + 1),
            )
            whole[:, rows, columns] += weight * first
        form *= np.degrees(1) / np.linalg.norm(whole)
    return first, second


def relief_patches(normals: NDArray[np.float32]) -> NDArray[np.float32]:
    """(h*w, 9) float32 patches of (H, W, 3) normals z, y, x, as frames have them. OpenCV and NumPy only."""
    planes = [np.ascontiguousarray(normals[..., channel]) for channel in (2, 1)]
    found = [
        sum(
            cv2.filter2D(plane, cv2.CV_32F, part, borderType=cv2.BORDER_REPLICATE)[::STRIDE, ::STRIDE]
            for plane, part in zip(planes, kernel, strict=True)
        )
        for kernel in kernels()
    ]
    return np.stack(found, axis=-1).reshape(-1, len(found))


def answers_of(vectors: str, output: str, size: Size) -> tuple[list[onnx.NodeProto], dict[str, Any], Size, int]:
    """What a graph needs to answer to vectors z, y, x: a tensor (1, 3, H, W) of it.

    Returns:
        The nodes, the last of which gives `output`, (h*w, 9) float32; their constants by name; (h, w), and how many
        answers there are.
    """
    first, second = _steps()
    grid = (-(-size[0] // STRIDE), -(-size[1] // STRIDE))
    weights = np.zeros((1, 3, *first.shape[1:]), np.float32)
    weights[0, 2], weights[0, 1] = first
    own = second[:, None].astype(np.float32)
    constants = {
        "relief/border": np.array([0, 0, _REACH, _REACH, 0, 0, _REACH, _REACH], np.int64),
        "relief/slopes": weights,
        "relief/forms": own,
        "relief/rows": np.array([grid[0] * grid[1], len(own)], np.int64),
    }
    nodes = [  # the border is repeated: zeros would be an edge
        helper.make_node("Pad", [vectors, "relief/border"], ["relief/wide"], mode="edge"),
        helper.make_node("Conv", ["relief/wide", "relief/slopes"], ["relief/fine"], strides=[STRIDE] * 2),
        helper.make_node("Conv", ["relief/fine", "relief/forms"], ["relief/answers"]),
        helper.make_node("Transpose", ["relief/answers"], ["relief/places"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["relief/places", "relief/rows"], [output]),
    ]
    return nodes, constants, grid, len(own)


def relief_graph(size: Size) -> PatchGraph:
    """The graph for a normal map of (H, W) `size`: (1, H, W, 3) float32, 127.5 (n + 1) of normals n, z, y, x."""
    nodes, constants, grid, dim = answers_of("normals", OUTPUT, size)
    constants |= {"level": np.array(1 / 127.5, np.float32), "one": np.array(1, np.float32)}
    first = [
        helper.make_node("Transpose", [_INPUT], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["nchw", "level"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "one"], ["normals"]),
    ]
    model = helper.make_model(
        helper.make_graph(
            first + nodes,
            RELIEF,
            [helper.make_tensor_value_info(_INPUT, TensorProto.FLOAT, [1, *size, 3])],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [grid[0] * grid[1], dim])],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="edge-ad",
    )
    onnx.checker.check_model(model, full_check=True)
    return PatchGraph(model, grid, dim, (Form(dim, grid),))
