"""Where things stand: the checkout, the folder of fixtures, and the installed command."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
DATA = Path(__file__).parent / "data"
SCRIPT = Path(sys.executable).parent / "edge-ad"
