"""Exports a bundle with a network of your own, then inspects one image with it.

    python examples/own_onnx_backbone.py images/of/good/parts net.onnx fine,coarse 256 part.bundle test.png

The network takes float NCHW images. `fine,coarse` names the tensors of the file whose features are used; Netron shows
them. Install it on the workstation with: pip install -e '.[demo]'
"""

from __future__ import annotations

import sys
from pathlib import Path

from edge_ad import EdgeADError, Runtime
from export.options import Options
from export.pipeline import export_bundle


def main(category: str, network: str, layers: str, size: str, out: str, image: str) -> int:
    """Returns 0 for a good image, 1 for an anomalous one, 2 for an error."""
    options = Options(
        category,
        out=Path(out),
        backbone=network,
        layers=tuple(layers.split(",")),
        input_size=(int(size), int(size)),
        mean=(0.485, 0.456, 0.406),  # RGB, pixels in 0..1: what your network was trained with
        std=(0.229, 0.224, 0.225),
    )
    try:
        print(export_bundle(options))
        verdict = Runtime(out, self_check=True).inspect(image)
    except EdgeADError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{image}: score {verdict.score:.4g}, threshold {verdict.threshold:.4g}")
    return int(verdict.is_anomalous)


if __name__ == "__main__":
    if len(sys.argv) != 7:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(main(*sys.argv[1:]))
