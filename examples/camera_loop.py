"""Inspects the frames of a camera or a video until it ends, and says what each one is.

    python examples/camera_loop.py cable.bundle 0            # the first camera
    python examples/camera_loop.py cable.bundle film.avi     # a video; images too: parts/%03d.png

OpenCV gives frames as (H, W, 3) u8 BGR, which is what a bundle takes by default.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import cv2
import numpy as np

from edge_ad import Runtime


def frames(source: str) -> Iterator[np.ndarray]:
    """Frames of a camera (a number) or of a file."""
    capture = cv2.VideoCapture(int(source) if source.isdigit() else source)
    if not capture.isOpened():
        sys.exit(f"cannot open {source}")
    try:
        while True:
            there, frame = capture.read()
            if not there:
                return
            yield frame
    finally:
        capture.release()


if __name__ == "__main__":
    _, bundle, source = sys.argv
    runtime = Runtime(bundle)
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C ends the loop of a camera
        for number, verdict in enumerate(runtime.inspect_many(frames(source))):
            boxes = [region.box for region in verdict.regions] if verdict.has_map else []
            word = "ANOMALOUS" if verdict.is_anomalous else "good"
            print(f"{number} {word} {verdict.score:.4g} of {verdict.threshold:.4g} {verdict.latency_ms:.1f} ms {boxes}")
    print(runtime.stats(), file=sys.stderr)
