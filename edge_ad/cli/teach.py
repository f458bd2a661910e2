"""`edge-ad teach NAME|BUNDLE IMAGES...`: makes a bundle of a few good images on the PC, or adds good images to one.

What it does is the export's (`export/teach/`); edge_ad does not import that: see `edge_ad.cli.export`.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_ad.cli.export import export_module


def run(arguments: Sequence[str]) -> int:
    """Teaches; returns the exit code.

    Raises:
        EdgeADError: the export is not installed.
    """
    code: int = export_module("teach.command", "Run pip install 'edge-ad[teach]'.").main(arguments)
    return code
