"""Heads: from patches to distances and a score. One module a method."""
