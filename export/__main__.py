"""`python -m export CATEGORY --to openvino|onnx|both`: see export.options for the options."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from edge_ad.errors import EdgeADError
from edge_ad.system.notices import show_image_warnings
from export.options import parse_options


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs an export; returns the exit code: 0, 2 for an error, 130 when interrupted."""
    try:
        options = parse_options(arguments)
        from export.pipeline import export_bundle  # late, so that --help and typos answer at once

        with show_image_warnings():
            summary = export_bundle(options)
        print(summary)
    except EdgeADError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; no bundle was left half written", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
