"""Frames, images and masks: what files and folders hold, before anything is computed from it."""
