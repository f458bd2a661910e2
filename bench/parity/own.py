"""edge-ad's side: the export's own steps up to the fitted head, for several seeds over features extracted once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.parity.compare import Truth
from bench.peer.answers import Answers, render
from bench.seen import masks_of
from edge_ad import native
from edge_ad.data.layouts import Category, TestImage, check_images
from edge_ad.heads.base import Head
from edge_ad.heads.patchcore import PatchCore
from edge_ad.spec import FrameSpec, Size
from edge_ad.system.cpu import default_threads
from export.coreset import project, select_coreset
from export.features import extract, patch_store, tensors
from export.fit import open_method
from export.fit.base import Material
from export.fit.padim import choose_channels
from export.folds import folds
from export.network import open_network
from export.options import Options
from export.stages import open_stages

CHANNELS = 100  # of PaDiM with resnet18, on either side


def good_images(category: Category) -> list[Path]:
    """The images to fit to, without exact copies: what the export takes."""
    images, facts = check_images(category.train_good)
    return [path for path in images if path not in set(facts.copies)]


def truth_of(images: Sequence[TestImage], size: Size) -> Truth:
    """Labels and masks of the test images; no masks where a defect has none."""
    known = all(image.mask is not None for image in images if image.defect is not None)
    return Truth(tuple(image.defect for image in images), masks_of(images, size) if known else None)


@contextlib.contextmanager
def open_material(good_images: list[Path], options: Options, folder: Path) -> Iterator[Material]:
    """Patches of the good images through the backbone graph, as in an export. Many are stored on disk, in `folder`."""
    stages = open_stages(options, open_network(options), FrameSpec(None), None, good_images, options.input_size)
    pool = native.Pool(options.threads or default_threads())
    with patch_store((len(good_images), stages.masks.count, stages.backbone.dim), folder) as patches:
        extract(patches, good_images, stages.frame, stages.crop, stages.engine, None)
        splits = folds(len(good_images), options.calibration, options.seed)
        yield Material(patches, good_images, stages, options, pool, splits)


def fit(material: Material, method: str, seed: int) -> Head:
    """The head of all the good images."""
    options = replace(material.options, method=method, seed=seed)
    fresh = replace(material, options=options, chosen={})  # rows that another seed chose are not this one's
    return open_method(fresh).fit(np.arange(len(material.good_images)), f"{method} {seed}")


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


def crops(material: Material, paths: Sequence[Path]) -> NDArray[np.uint8]:
    """(n, H, W, 3) u8 BGR: the images as the engine gets them."""
    return np.concatenate(list(tensors(paths, material.stages.frame, material.stages.crop)))
