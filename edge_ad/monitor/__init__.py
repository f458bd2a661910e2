"""Drift: whether the frames of today are still like the good images of the export."""
