"""Training of a small backbone: `python -m export.distill`."""
