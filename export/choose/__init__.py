"""Chooses what an export is not told: the input size, one or two of them, local scale and smoothing, by evidence.

    sizes -> cost (a model, not a stopwatch) -> trials on held-out good images with synthetic defects -> choice

The evidence is detection power (`export.power`); no label of a test image is used. The same images, options and seed
give the same choice on every machine.
"""
