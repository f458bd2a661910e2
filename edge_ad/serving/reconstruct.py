"""Pictures as they should be, by the network of a bundle whose method reconstructs (`registry.Method.reconstructs`).

The graph of such a bundle has the reconstruction as its second output. A `Runtime` asks for the first one only, and
pays nothing for it; here the second one is asked for, and no head is opened. For pictures for people.
"""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.bundle.align import open_aligner
from edge_ad.bundle.file import Bundle
from edge_ad.bundle.models import models_of
from edge_ad.bundle.roi import open_roi
from edge_ad.engines import open_engine
from edge_ad.engines.base import RECONSTRUCTION_OUTPUT
from edge_ad.errors import BundleCorruptError, SpecError
from edge_ad.frames.capture import open_frame
from edge_ad.frames.crop import Crop
from edge_ad.frames.picture import to_picture
from edge_ad.registry import METHODS, PRECISIONS, one_of
from edge_ad.serving.point import runnable_engine
from edge_ad.spec import REFERENCE


class Reconstructor:
    """Gives pictures as they should be. Safe to share between threads.

    Args:
        path: the bundle.
        point, engine, device: as `edge_ad.Runtime` takes them.
        threads: most threads.

    Raises:
        SpecError: the method of the bundle reconstructs nothing, or there is no such point.
        BundleError, EngineUnavailableError, EngineError: the bundle or the engine cannot be used.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        point: str = REFERENCE,
        engine: str = "auto",
        device: str = "CPU",
        threads: int = 1,
    ) -> None:
        with Bundle.open(path, points=(point,)) as bundle:
            name = runnable_engine(bundle, point, engine, device)
            own = bundle.at(point).sights()[0]
            spec = own.manifest
            method = METHODS[spec.head.method]
            if not method.reconstructs:
                raise SpecError(
                    f"{method.title} reconstructs nothing",
                    expected=f"a bundle of {one_of(METHODS.having(lambda m: m.reconstructs))}",
                    got=f"{path}",
                )
            self._frame, self._size, self._path = spec.frame, spec.backbone.tensor_size, Path(path)
            pool = native.Pool(threads)
            self._aligner = open_aligner(own, pool)
            beyond = None if self._aligner is None else self._aligner.picture
            self._crop = Crop(spec.frame, spec.backbone, spec.roi, open_roi(own).pixels, pool, beyond)
            self._engine = open_engine(
                name,
                models_of(own),
                device=device,
                threads=threads,
                precision=PRECISIONS[spec.backbone.precision].arithmetic,
                output=RECONSTRUCTION_OUTPUT,
            )

    def __call__(self, capture: object) -> NDArray[np.uint8]:
        """(H, W, 3) u8 BGR: the picture of a capture, as `Runtime.inspect` takes it, with its crop reconstructed; what
        lies around stays. Where the part is followed, its reconstruction lies where it does in the frame.

        Raises:
            FrameError: the capture cannot be read.
            EngineError: the engine failed.
            BundleCorruptError: the model gives no picture.
        """
        frame, is_bgr = open_frame(capture, self._frame, judged=False)
        place = None if self._aligner is None else self._aligner.find(frame)
        found = self._engine(self._crop(frame, from_file=is_bgr, place=place))
        expected = (1, 3, *self._size)
        if found.shape != expected or found.dtype != np.float32:
            raise BundleCorruptError(
                f"the model of {self._path} gives no reconstruction",
                expected=f"{expected} float32",
                got=f"{found.shape} {found.dtype}",
            )
        whole = to_picture(frame, self._frame.white_level, rgb=self._frame.color_order == "rgb" and not is_bgr)
        y0, x0, y1, x1 = self._crop.box((frame.shape[0], frame.shape[1]))
        values = found[0].transpose(1, 2, 0)
        if self._frame.stack is not None:  # normals, as a picture
            values = (values + 1) / 2
        part = np.nan_to_num(np.clip(values, 0, 1))
        larger = np.rint(255 * cv2.resize(part, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)).astype(np.uint8)
        if place is None or not place.moved:
            whole[y0:y1, x0:x1] = larger
            return whole
        there, inside = np.zeros_like(whole), np.zeros(whole.shape[:2], np.bool_)
        there[y0:y1, x0:x1], inside[y0:y1, x0:x1] = larger, True
        moved = cv2.warpAffine(there, place.matrix, (whole.shape[1], whole.shape[0]))
        return np.where(place.mask_in_frame(inside)[..., None], moved, whole)
