"""Benches. What they measure is what they say: no profile of the machine chooses settings behind their back."""

import os

os.environ.setdefault("EDGE_AD_NO_PROFILE", "1")
