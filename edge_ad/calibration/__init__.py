"""Thresholds: the rules that choose one, and choosing it anew for a bundle."""
