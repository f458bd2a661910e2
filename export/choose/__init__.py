"""Chooses what an export is not told: the input size, one or two of them, local scale and smoothing, and the network
where there are several, by evidence.

    sizes of each network -> cost (a model, not a stopwatch) -> trials on held-out good images with synthetic defects
                          -> choice

The evidence is how well held-out good images and synthetic defects on them (`export.power`) are told apart; no label of
a test image is used.
"""
