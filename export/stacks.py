"""Stacks of pictures under several lights: their lights, and what good ones have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge_ad.errors import SpecError
from edge_ad.frames.capture import surface_of
from edge_ad.frames.photometric import read_lights
from edge_ad.spec import RESIZES, FrameSpec, LightsSpec, StackSpec
from edge_ad.system.progress import Progress
from export.options import Options
from export.summary import Summary

_AREA = RESIZES[0]  # how normal maps are resized
_LEAST_LIT = 0.5  # of the least share of pixels with a normal that a good stack had
_MOST_RESIDUAL = 2.0  # times the largest mean residual of a good stack


def with_lights(options: Options) -> tuple[Options, LightsSpec | None]:
    """The options as stacks need them, and the lights that they name; None where a frame is one picture.

    Raises:
        FrameError, SpecError: the file of the lights cannot be used.
    """
    if options.lights is None:
        return options, None
    return replace(options, resize=_AREA), read_lights(options.lights)


def measure_stacks(
    good_images: Sequence[Path], frame: FrameSpec, lights: LightsSpec, options: Options, summary: Summary
) -> StackSpec:
    """The spec of the stacks, with limits of light and fit from the good ones; a stack beyond them gets no verdict.

    Raises:
        FrameError: a stack is incomplete, or a picture of it dark or there twice.
    """
    method = "robust" if options.normals == "robust" else "least_squares"
    plain = StackSpec(lights, method, options.ambient)  # type: ignore[arg-type]
    spec = replace(frame, stack=plain)
    shares, residuals = [], []
    with Progress("normals", len(good_images), unit="stacks") as progress:
        for path in good_images:
            found = surface_of(path, spec, judged=True)
            shares.append(found.lit_share())
            residuals.append(found.mean_residual())
            progress.update(1)
    typical = float(np.median(residuals))
    limit = max(_MOST_RESIDUAL * max(residuals), 1e-3)
    least = _LEAST_LIT * min(shares)
    summary.say(
        "stacks",
        f"{lights.count} lights, normals {method}, residual {typical:.4f} of the albedo (refused above {limit:.4f}), "
        f"a normal in {100 * min(shares):.1f}% of the pixels or more (refused below {100 * least:.1f}%)",
    )
    if lights.count < 6 and method == "robust":
        summary.say("note", f"{lights.count} lights: shadows and highlights are found reliably with 6 or more")
    return StackSpec(lights, plain.method, options.ambient, least, limit)


def refuse_stacks(frame: FrameSpec, what: str) -> None:
    """Raises `SpecError` where frames are stacks, which `what` does not take."""
    if frame.stack is not None:
        raise SpecError(
            f"{what} takes no stacks of pictures",
            expected="a bundle of images",
            got="one of photometric stereo",
            remedy="Export again, with the new stacks among the good ones.",
        )
