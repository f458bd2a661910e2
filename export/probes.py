"""Golden probes of a new bundle: a few frames, and the answers that they give here and must give on every PC."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_ad.frames.capture import read_capture, resized
from edge_ad.frames.check import in_declared_order, read_frame
from edge_ad.frames.crop import resize
from edge_ad.frames.picture import to_picture, to_u8
from edge_ad.registry import PRECISIONS
from edge_ad.runtime import Runtime
from edge_ad.spec import MAX_SIDE, MIN_FRAME_SIDE, BackboneSpec, FrameSpec, ProbesSpec, Size

# How much a correct PC may deviate: `edge_ad.registry.Precision.tolerance`.
# Measured on the probes of resnet18 and of random filters (bench/NOTES.md), from one
# thread to two and from one instruction set to another (ONEDNN_MAX_CPU_ISA): as near as one machine comes to several.
# f32  engines differ by some 1e-5 on any CPU.
# bf16 4e-3 in the patches between AMX and AVX512_BF16, which sum in another order; five times that is allowed, as other
#      versions of OpenVINO may keep other parts in f32. bf16 itself is 1.5e-2 from f32.
# int8 whole numbers, the same to the bit with VNNI and AMX. Without VNNI 8-bit products saturate on x86: up to 2.8e-2
#      in the patches, 6e-3 in the distances, 2.4e-3 in the score: harmless, and allowed. int8 itself is 9e-2 from f32.
# align: OpenCV 4 moves pixels by multiples of 1/32, OpenCV 5 exactly: up to 3.5e-2 in the distances of a moved frame. A
#      part that is found elsewhere changes them by more than three times as much as is allowed.
_ALIGNED = 0.1
_ROWS = 64
_MOST_PIXELS = 2**20  # of a probe's frame, where frames are cut into tiles


def probe_size(backbone: BackboneSpec) -> Size:
    """(H, W) of the probes' frames: the input size.

    A frame in tiles is shrunk by a whole number to `_MOST_PIXELS`, or frames and maps would take gigabytes. The runtime
    enlarges it again, so that every tile is looked at.
    """
    height, width = backbone.input_size
    if backbone.tiles is None:
        return height, width
    by = max(math.ceil(math.sqrt(height * width / _MOST_PIXELS)), math.ceil(max(height, width) / MAX_SIDE))
    return max(height // by, MIN_FRAME_SIDE), max(width // by, MIN_FRAME_SIDE)


def probe_frames(good: Path, white_level: int, size: Size, seed: int) -> NDArray[np.uint8]:
    """(3, H, W, 3) u8 BGR: a good image, the same with a foreign patch, and noise.

    The image is moved by a few pixels, off the patch grid. If a method holds the same image, its distances are rounding
    only, and all their digits may differ between engines.
    """
    generator = np.random.default_rng(seed)
    image = np.roll(to_picture(resize(read_frame(good), size), white_level), (5, 3), axis=(0, 1))
    noise = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
    foreign = image.copy()
    y, x = size[0] // 3, size[1] // 3
    foreign[y : y + size[0] // 8, x : x + size[1] // 8] = noise[: size[0] // 8, : size[1] // 8]
    return np.stack([image, foreign, noise])


def probe_stacks(good: Path, frame: FrameSpec, size: Size, seed: int) -> NDArray[np.uint8]:
    """(3, N, H, W) or (3, N, H, W, 3) u8 BGR: a good stack, the same with a foreign patch, and noise.

    Like `probe_frames`. The foreign patch has the pictures in the opposite order, so that other normals come out.
    """
    generator = np.random.default_rng(seed)
    taken = read_capture(good, replace(frame, color_order="bgr"))
    pictures = to_u8(resized(taken, size, frame), frame.white_level)
    image = np.roll(pictures, (5, 3), axis=(1, 2))
    foreign = image.copy()
    y, x = size[0] // 3, size[1] // 3
    part = (slice(None), slice(y, y + size[0] // 8), slice(x, x + size[1] // 8))
    foreign[part] = image[::-1][part]
    return np.stack([image, foreign, generator.integers(0, 256, image.shape, dtype=np.uint8)])


def make_probes(
    runtime: Runtime, frames: NDArray[np.uint8], seed: int
) -> tuple[ProbesSpec, dict[str, NDArray[np.generic]]]:
    """The probes' spec and members, with the answers of `runtime`."""
    backbone = runtime.manifest.at(runtime.point).backbone
    rows = np.sort(np.random.default_rng(seed).permutation(math.prod(backbone.grid))[:_ROWS]).astype(np.int32)
    answers = [runtime.probe(in_declared_order(frame, runtime.manifest.frame), rows) for frame in frames]
    tolerance = max(PRECISIONS[backbone.precision].tolerance, _ALIGNED if runtime.manifest.align else 0.0)
    size = frames.shape[1:3] if runtime.manifest.frame.stack is None else frames.shape[2:4]
    spec = ProbesSpec(len(frames), (size[0], size[1]), len(rows), tolerance)
    members: dict[str, NDArray[np.generic]] = {
        "probes/frames": frames,
        "probes/rows": rows,
        "probes/patches": np.stack([answer.patches for answer in answers]),
        "probes/distances": np.stack([answer.distances for answer in answers]),
        "probes/maps": np.stack([answer.anomaly_map for answer in answers]),
        "probes/scores": np.array([answer.score for answer in answers], np.float32),
    }
    if runtime.manifest.align is not None:
        members["probes/confidences"] = np.array([answer.confidence for answer in answers], np.float32)
    return spec, members
