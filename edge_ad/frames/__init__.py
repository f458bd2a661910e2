"""Frames: what a camera or a file gives, and what of it is inspected."""
