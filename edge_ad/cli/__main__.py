"""`python -m edge_ad.cli`: the edge-ad command, if the script of that name is not on the path."""

from __future__ import annotations

import sys

from edge_ad.cli import main

if __name__ == "__main__":
    sys.exit(main())
