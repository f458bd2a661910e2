"""Verdicts made by hand."""

from __future__ import annotations

import numpy as np

from edge_ad import Verdict


def make_verdict(score: float, amap: np.ndarray, threshold: float = 1.0, pixel_threshold: float = 1.0) -> Verdict:
    return Verdict(
        score=score,
        threshold=threshold,
        pixel_threshold=pixel_threshold,
        p_value=0.5,
        timings={"total": 1.0},
        deadline_met=None,
        point="f32",
        engine="e",
        precision="f32",
        search="exact",
        bundle="b",
        _render=lambda: amap,
        _to_bgr=lambda frame: np.array(frame),
    )
