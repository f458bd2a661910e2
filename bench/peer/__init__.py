"""anomalib, the peer: a process of its own in an environment of its own, and what the benches ask it.

`models` and `worker` run there; `process` is our side. The peer's environment has none of edge-ad's packages, and finds
this package by `peer_environment`.
"""

from __future__ import annotations

import os
from pathlib import Path

LAYERS = ["layer2", "layer3"]  # of its PatchCore by default
ROOT = Path(__file__).parents[2]


def peer_environment() -> dict[str, str]:
    """Variables for a process of the peer's interpreter, so that ``-m bench...`` is found in any working folder, and
    that its stderr has errors only: no progress bars, and no warnings of what its packages deprecate."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore"}
