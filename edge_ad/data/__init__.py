"""Folders of images: their layouts, and what is labelled in them."""
