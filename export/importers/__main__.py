"""`python -m export.importers FILE_OR_FOLDER --data CATEGORY`: see `export.importers.command` for the options."""

from __future__ import annotations

import sys

from edge_ad.system.entry import run_command
from export.importers.command import main

if __name__ == "__main__":
    sys.exit(run_command(main, "interrupted; no half-written bundle is left"))
