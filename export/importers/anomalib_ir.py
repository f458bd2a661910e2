"""PatchCore and PaDiM as anomalib 1.x and 2.x export them to OpenVINO IR: ``model.xml`` and ``model.bin``.

The IR becomes an ONNX graph (`export.importers.openvino_operators`), and from there on it is as with ONNX: the bundle
has both kinds of model. That nothing was lost is proven by scores: those of the IR itself, run by OpenVINO.
"""

from __future__ import annotations

from pathlib import Path

from edge_ad.engines import installed_engines, run_ir_once
from edge_ad.registry import ENGINES
from export.importers.anomalib_graph import Graph
from export.importers.anomalib_onnx import Pixels, imported
from export.importers.base import Asked, Format, Imported, start_of
from export.importers.openvino_file import read_ir
from export.importers.openvino_operators import to_onnx

_LOOKED_AT = 2**10  # bytes


def read(path: Path, asked: Asked) -> Imported:
    """The model as a bundle's PatchCore or PaDiM.

    Raises:
        SpecError: it is broken, hostile, of another method, or has operators before its patches that are not known.
    """
    ir = read_ir(path)
    proto, sources = to_onnx(ir)
    graph = Graph(path, proto)
    source = sources[graph.raw_score()[0]]

    def run(pixels: Pixels) -> Pixels:
        return run_ir_once(ir.xml, ir.weights, pixels, source)

    able = any(ENGINES[name].runs[0] == "ir" for name in installed_engines())
    return imported(graph, ir.digest, asked, run if able else None)


def claims(path: Path) -> bool:
    """Whether it is XML of a network."""
    start = start_of(path, _LOOKED_AT).lstrip() if path.is_file() else b""
    return (start[:5] == b"<?xml" and b"<net" in start) or start[:4] == b"<net"


FORMAT = Format("anomalib", "PatchCore or PaDiM exported to OpenVINO, model.xml", claims, read)
