"""`python -m export CATEGORY --to openvino|onnx|both`: see export.options for the options."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec

if __name__ == "__main__":
    # Before NumPy comes, with edge_ad: threads of OpenBLAS that wait keep their cores busy, and the products are small.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from edge_ad.errors import BackboneError
from edge_ad.system.entry import run_command
from edge_ad.system.files import is_stdout
from edge_ad.system.names import printable_lines
from edge_ad.system.notices import show_image_warnings


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs an export; returns the exit code, as `edge_ad.system.entry` has them."""
    return run_command(lambda: _export(arguments), "interrupted; no half-written bundle is left")


def _export(arguments: Sequence[str] | None) -> int:
    from export.command_line import parse_options

    options = parse_options(arguments)
    if find_spec("onnx") is None:
        raise BackboneError(
            "the export needs the package onnx",
            expected="onnx",
            got="not installed",
            remedy="Run pip install 'edge-ad[demo]' on the workstation.",
        )
    from export.pipeline import export_bundle  # imported late, so that --help and errors in options are fast

    with show_image_warnings():
        summary = export_bundle(options)
    # if the bundle goes to the standard output, no text may be mixed with it
    print(printable_lines(str(summary)), file=sys.stderr if is_stdout(summary.bundle) else sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
