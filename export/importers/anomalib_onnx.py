"""PatchCore and PaDiM as anomalib 1.x and 2.x export them to ONNX: one graph from pixels to score.

The graph is cut where its patches are, before they are compared with the memory or the Gaussians, which are
initialisers of it: see `export.importers.anomalib_graph`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edge_ad.calibration.tail import just_above
from edge_ad.engines import run_once
from edge_ad.errors import SpecError
from edge_ad.spec import Tensor
from edge_ad.system.inputs import read_input
from export.importers.anomalib_graph import FOREIGN, Graph
from export.importers.base import Asked, Format, Given, Imported, start_of
from export.importers.plain import PlainBackbone
from export.onnx_file import read_onnx

_MAX_METADATA = 2**24  # bytes
_FIRST_BYTE = b"\x08"  # of an ONNX file: the field ir_version
Pixels = NDArray[np.float32]  # (1, 3, H, W) RGB in 0..1


def read(path: Path, asked: Asked) -> Imported:
    """The model as a bundle's PatchCore or PaDiM.

    Raises:
        SpecError: it is of another method, or of another tool.
        BackboneError: it cannot be read, or its weights beside it are missing.
    """
    proto, digest = read_onnx(path)
    graph = Graph(path, proto)
    score, _ = graph.raw_score()
    whole = onnx.ModelProto()
    whole.CopyFrom(proto)
    del whole.graph.output[:]
    whole.graph.output.append(helper.make_tensor_value_info(score, TensorProto.FLOAT, None))
    data = whole.SerializeToString()
    return imported(graph, digest, asked, lambda pixels: run_once(data, graph.image, pixels)[0])


def imported(graph: Graph, digest: str, asked: Asked, run: Callable[[Pixels], NDArray[np.float32]] | None) -> Imported:
    """What a graph becomes.

    Args:
        digest: SHA-256 of its files, hexadecimal.
        run: the tensor of the raw score, by the tool's own graph; None if it cannot be asked here.

    Raises:
        SpecError: it is of another method, or of another tool.
    """
    path, found = graph.path, graph.memory()
    rows, layer = (None, "") if found is None else found
    gaussians = None
    if rows is None:
        known = graph.gaussians()
        if known is None:
            raise graph.refused(
                "PatchCore, whose patches are compared with an initialiser (N, D), or PaDiM, whose inverse covariances "
                "(R, C, C) are one",
                "another graph",
            )
        gaussians, layer = known
    _require_known(graph, layer)
    view = asked.view or graph.view()
    if view is None:
        raise SpecError(
            f"{path} does not say how large its images were",
            expected="a map or an input of a fixed size",
            got="any size",
            remedy="Give it: --input-size 256,256 is anomalib's usual.",
        )
    _, threshold = graph.raw_score()
    threshold = _threshold_beside(path) if threshold is None else threshold
    given = None
    if threshold is not None and np.isfinite(threshold) and threshold > 0:
        given = Given(float(just_above(np.array(threshold))), "f1")
    cut = graph.without_resize()
    named = path.name, (layer,), path.name, digest
    network = PlainBackbone(*named, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), lambda size: cut, None, stride=1)

    def prove(tensor: Tensor) -> float:
        assert run is not None, "else it is not asked"
        pixels = np.ascontiguousarray(tensor[..., ::-1].transpose(0, 3, 1, 2)).astype(np.float32) / np.float32(255)
        return float(run(pixels).max())  # of a map, its peak

    proof = None if run is None else prove
    if gaussians is not None:
        return Imported(FORMAT.title, network, view, "padim", fit=gaussians.fit, given=given, prove=proof)
    own = {"reweight": graph.neighbours(), "local_scale": 0.0, "smooth": 0.0}
    return Imported(FORMAT.title, network, view, "patchcore", own, rows=rows, given=given, prove=proof)


def _require_known(graph: Graph, layer: str) -> None:
    """Refuses operators before the patches that are not understood."""
    unknown = sorted({node.op_type for node in graph.before(layer) if node.domain == FOREIGN})
    if unknown:
        raise graph.refused("a network of usual operators", f"{', '.join(unknown)[:200]}")


def _threshold_beside(path: Path) -> float | None:
    """The threshold in the metadata.json of anomalib 1.x, of the score as the graph gives it."""
    try:
        found = json.loads(read_input(path.with_name("metadata.json"), most=_MAX_METADATA))
    except (OSError, ValueError, RecursionError):  # of no use: the images give a threshold
        return None
    value = found.get("image_threshold") if isinstance(found, dict) else None
    return float(value) if isinstance(value, (int, float)) else None


def claims(path: Path) -> bool:
    """Whether it is an ONNX file."""
    return path.is_file() and start_of(path, 1) == _FIRST_BYTE


FORMAT = Format("anomalib", "PatchCore or PaDiM exported to ONNX, model.onnx", claims, read)
