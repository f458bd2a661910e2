"""Where outcomes go: one file a kind, and a line in `table.py`."""
