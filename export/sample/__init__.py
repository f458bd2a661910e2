"""The rendered sample: `python -m export.sample`."""
