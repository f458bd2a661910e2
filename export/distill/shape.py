"""The student's shape: what `student` builds with torch and `onnx_file` writes without."""

from __future__ import annotations

STEM = 32  # channels
BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
)  # widening, channels, count, stride
STRIDES = tuple(stride if i == 0 else 1 for _, _, count, stride in BLOCKS for i in range(count))  # of each block
READ = (2, 5, 12)  # blocks whose outputs are read: at strides 4, 8 and 16
TRUNK_CHANNELS = (24, 32, 96)  # of these outputs
BRANCH = ((64, 48), (96, 64))  # of the branch at strides 8 and 16: channels, and those inside its blocks
LAYERS = ("trunk8", "copied8", "trunk16", "copied16")  # what a student gives
AXES = (32, 32, 64, 64)  # of each layer: principal axes that the outputs keep
WEIGHTS = (1.0, 1.8, 1.0, 1.8)  # of each layer in distances: so both networks count alike
