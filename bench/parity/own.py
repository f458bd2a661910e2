"""edge-ad's side: the export's own steps up to the fitted head, for several seeds over features extracted once.

A second time the resized pixels are not rounded to 8 bits, which the product does with every picture, of 8 or 16 bits:
anomalib does not. Nothing else changes, so the two tell what the rounding costs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.parity.compare import Truth
from bench.peer.answers import Answers, render
from bench.seen import masks_of
from edge_ad import native
from edge_ad.data.layouts import Category, TestImage, check_images
from edge_ad.frames.crop import Crop, resize
from edge_ad.frames.place import Place
from edge_ad.heads.base import Head
from edge_ad.heads.patchcore import PatchCore
from edge_ad.spec import BackboneSpec, Frame, FrameSpec, Size, Tensor
from edge_ad.system.cpu import default_threads
from export.coreset import project, select_coreset
from export.features import extract, patch_store, tensors
from export.fit import open_method
from export.fit.base import Material
from export.fit.padim import choose_channels
from export.folds import folds
from export.graph import PatchGraph
from export.network import Backbone, open_network
from export.options import Options
from export.stages import open_stages

CHANNELS = 100  # of PaDiM with resnet18, on either side
FINER = 257  # steps of 16 bits in a grey level of 8: white stays white


class Unrounded(Crop):
    """Makes tensors of 8-bit pictures as the product does, but does not round them to 8 bits once they are resized.

    The resize is the product's own, of the same picture with 16 bits: what it rounds is a 257th of a grey level.
    """

    def __init__(self, frame: FrameSpec, backbone: BackboneSpec) -> None:
        super().__init__(frame, backbone, None, None)
        self._backbone = backbone

    def __call__(self, frame: Frame, *, from_file: bool = False, place: Place | None = None) -> Tensor:
        """(1, H, W, 3) BGR float32, 0..255."""
        assert frame.dtype == np.uint8
        assert from_file  # so it is BGR
        deep: Any = frame.astype(np.uint16) * np.uint16(FINER)
        crop = resize(deep, self._backbone.tensor_size, None, self._backbone.resize)
        if crop.ndim == 2:
            crop = cv2.cvtColor(crop, cv2.COLOR_GRAY2BGR)
        tensor: Any = crop.astype(np.float32)[None] / np.float32(FINER)
        return tensor


class _OfFloats(Backbone):
    """A network whose graph takes float32 pixels, as that of a normal map does, in the range of u8."""

    def graph(self, size: Size, *, floats: bool = False) -> PatchGraph:
        return super().graph(size, floats=True)


def good_images(category: Category) -> list[Path]:
    """The images to fit to, without exact copies: what the export takes."""
    images, facts = check_images(category.train_good)
    return [path for path in images if path not in set(facts.copies)]


def truth_of(images: Sequence[TestImage], size: Size) -> Truth:
    """Labels and masks of the test images; no masks where a defect has none."""
    known = all(image.mask is not None for image in images if image.defect is not None)
    return Truth(tuple(image.defect for image in images), masks_of(images, size) if known else None)


@contextlib.contextmanager
def open_material(
    good_images: list[Path], options: Options, folder: Path, *, rounded: bool = True
) -> Iterator[Material]:
    """Patches of the good images through the backbone graph, as in an export. Many are stored on disk, in `folder`.

    Args:
        rounded: to 8 bits once resized, as in an export; else as `Unrounded` has it.
    """
    network, frame = open_network(options), FrameSpec(None)
    if not rounded:
        assert isinstance(network, Backbone)
        network = _OfFloats(**{field.name: getattr(network, field.name) for field in fields(network)})
    stages = open_stages(options, network, frame, None, good_images, options.input_size)
    if not rounded:
        stages = replace(stages, crop=Unrounded(frame, stages.backbone))
    pool = native.Pool(options.threads or default_threads())
    with patch_store((len(good_images), stages.masks.count, stages.backbone.dim), folder) as patches:
        extract(patches, good_images, stages.frame, stages.crop, stages.engine, None)
        splits = folds(len(good_images), options.calibration, options.seed)
        yield Material(patches, good_images, stages, options, pool, splits)


def fit(material: Material, method: str, seed: int, rows: NDArray[np.int64] | None = None) -> Head:
    """The head of all the good images.

    Args:
        rows: of the coreset; by default it is chosen.
    """
    images, options = np.arange(len(material.good_images)), replace(material.options, method=method, seed=seed)
    chosen = {} if rows is None else {images.tobytes(): rows}  # rows that another seed chose are not this one's
    return open_method(replace(material, options=options, chosen=chosen)).fit(images, f"{method} {seed}")


def coreset_rows(material: Material, seed: int, head: Head) -> NDArray[np.int64]:
    """Which patches, in the order of images and positions, the head of `fit` has for its coreset."""
    images, patches = np.arange(len(material.good_images)), material.patches
    rows = select_coreset(project(patches, seed), images, material.options.coreset, seed, material.pool)
    assert isinstance(head, PatchCore)
    assert np.array_equal(head.index.coreset.vectors, patches.reshape(-1, patches.shape[2])[rows])
    return rows


def channels(material: Material, seed: int) -> NDArray[np.int32]:
    """Which channels PaDiM's head of `fit` has."""
    return choose_channels(None, material.patches.shape[2], CHANNELS, seed)


def inspect(material: Material, heads: Mapping[int, Head], images: Sequence[TestImage]) -> dict[int, Answers]:
    """What each of the heads says of the test images."""
    stages = material.stages
    grid, size = stages.backbone.grid, stages.backbone.tensor_size
    scores = {seed: np.empty(len(images)) for seed in heads}
    distances = {seed: np.empty((len(images), *grid), np.float32) for seed in heads}
    for i, tensor in enumerate(tensors([image.path for image in images], stages.frame, stages.crop)):
        patches = stages.engine(tensor)
        for seed, head in heads.items():
            scored = head(patches, exact=True)
            scores[seed][i], distances[seed][i] = scored.score, scored.distances.reshape(grid)
    return {seed: Answers(scores[seed], distances[seed], render(distances[seed], size)) for seed in heads}


def crops(material: Material, paths: Sequence[Path]) -> NDArray[Any]:
    """(n, H, W, 3) BGR, u8 or float32: the images as the engine gets them."""
    return np.concatenate(list(tensors(paths, material.stages.frame, material.stages.crop)))
