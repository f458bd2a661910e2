"""Synthetic defects on good images, with exact masks: `python -m export.synth`, and `make_defect` for programs."""
