"""Frames from a camera or a file, and the part of a frame that is inspected."""
