"""Defects of known depth on real surfaces: the autoencoder beside PatchCore, PaDiM and a baseline without learning."""
