"""Thresholds: the rules that choose one, and a new choice for an existing bundle."""
