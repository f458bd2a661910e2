"""Benches. They use the settings that they name: no profile of the machine changes them."""

import os

os.environ.setdefault("EDGE_AD_NO_PROFILE", "1")
