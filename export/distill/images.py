"""Batches to distil from: photographs and procedural textures, strongly varied.

A batch depends on the seed and its number alone, so that a training that was interrupted goes on with the very images
it would have seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import DatasetError
from edge_ad.frames.listing import list_images
from edge_ad.system.progress import Progress
from export.distill.textures import U8Image, add_defect, blend_object, make_texture

SHORT_SIDE = 256  # of the photographs in memory
TEXTURES = 900
TEXTURE_SHARE = 0.35
_HELD_OUT_BATCH = 1 << 40  # number of the batch to judge by: no training gets so far


class ImagePool:
    """Photographs and textures in memory, and the batches made from them.

    Args:
        folder: photographs, any number of them.
        size: pixels of a side of the crops.
        seed: of the textures and of every batch.
        textures: how many are made.

    Raises:
        DatasetError: no image in the folder can be read.
    """

    def __init__(self, folder: Path, size: int, seed: int, textures: int = TEXTURES) -> None:
        self.size, self.seed = size, seed
        paths = list_images(folder) if folder.is_dir() else []
        photographs = []
        with Progress("reading", len(paths)) as progress:
            for path in paths:
                image = cv2.imread(str(path), cv2.IMREAD_COLOR)
                if image is not None:
                    photographs.append(_shrunk(image)[..., ::-1])
                progress.update()
        if not photographs:
            raise DatasetError("there are no images to distil from", expected="a folder of photographs", got=folder)
        held = len(photographs) // 20  # never trained on, but where there are too few
        self._held_out = photographs[:: max(1, len(photographs) // held)][:held] if held else photographs
        kept = {id(image) for image in self._held_out} if held else set()
        self._photographs = [image for image in photographs if id(image) not in kept]
        generator = np.random.default_rng((seed, 0))
        with Progress("textures", textures) as progress:
            self._textures = []
            for _ in range(textures):
                self._textures.append(make_texture(SHORT_SIDE, generator))
                progress.update()

    def batch(self, number: int, count: int) -> NDArray[np.uint8]:
        """(count, size, size, 3) u8 RGB: the batch of that number."""
        generator = np.random.default_rng((self.seed, 1, number))
        return np.stack([self._crop(self._photographs, generator) for _ in range(count)])

    def held_out(self, count: int) -> NDArray[np.uint8]:
        """(count, size, size, 3) u8 RGB: crops of photographs that no batch shows, and of textures."""
        generator = np.random.default_rng((self.seed, 2, _HELD_OUT_BATCH))
        return np.stack([self._crop(self._held_out, generator) for _ in range(count)])

    def _crop(self, photographs: Sequence[U8Image], generator: np.random.Generator) -> U8Image:
        image = self._view(photographs, generator)
        kind = generator.random()
        if kind < 0.12:
            image = blend_object(image, self._view(photographs, generator), generator)
        elif kind < 0.2:
            half = self.size // 2
            image = image.copy()
            image[:, half:] = self._view(photographs, generator)[:, half:]
            image[half:] = self._view(photographs, generator)[half:]
        if generator.random() < 0.25:
            image = add_defect(image, generator)
        return _lit(image, generator)

    def _view(self, photographs: Sequence[U8Image], generator: np.random.Generator) -> U8Image:
        """A turned, mirrored and scaled cut of one photograph or texture: from 1/6 of it to more than all of it."""
        pool = self._textures if self._textures and generator.random() < TEXTURE_SHARE else photographs
        image = pool[int(generator.integers(len(pool)))]
        h, w = image.shape[:2]
        scale = self.size / min(h, w) * np.exp(generator.uniform(np.log(0.55), np.log(5.0)))
        stretch = np.exp(generator.normal(0, 0.12))
        angle = generator.choice([0, 90, 180, 270]) + (generator.uniform(-45, 45) if generator.random() < 0.4 else 0)
        turn = np.deg2rad(angle)
        matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ np.diag(
            [scale * stretch * generator.choice([-1, 1]), scale / stretch]
        )
        reach = max(0.0, 1 - self.size / (scale * min(h, w))) / 2  # of the centre, so that the cut stays inside
        centre = np.array([w, h]) * (0.5 + generator.uniform(-reach, reach, 2))
        offset = self.size / 2 - matrix @ centre
        if scale < 0.9:  # against aliasing
            image = cv2.GaussianBlur(image, (0, 0), 0.4 / scale)
        flags = cv2.INTER_LINEAR if generator.random() < 0.7 else cv2.INTER_CUBIC
        return cv2.warpAffine(
            image,
            np.column_stack([matrix, offset]),
            (self.size, self.size),
            flags=flags,
            borderMode=cv2.BORDER_REFLECT_101,
        )


def _shrunk(image: U8Image) -> U8Image:
    scale = SHORT_SIDE / min(image.shape[:2])
    if scale >= 1:
        return image
    size = (max(SHORT_SIDE, round(image.shape[1] * scale)), max(SHORT_SIDE, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _lit(image: U8Image, generator: np.random.Generator) -> U8Image:
    """Other light, colour, sharpness and noise: what cameras and lamps do."""
    size = image.shape[0]
    if generator.random() < 0.35:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    elif generator.random() < 0.3:
        image = image[..., generator.permutation(3)]
    if generator.random() < 0.2:
        image = cv2.GaussianBlur(image, (0, 0), float(generator.uniform(0.4, 2.5)))
    pixels = image.astype(np.float32)
    if generator.random() < 0.8:
        middle = float(pixels.mean())
        contrast = np.exp(generator.uniform(np.log(0.3), np.log(1.7)))
        tint = generator.normal(0, 0.06, 3) if generator.random() < 0.5 else np.zeros(3)
        pixels = (pixels - middle) * contrast + middle * np.exp(generator.normal(0, 0.35)) * (1 + tint)
    if generator.random() < 0.25:  # light from a side
        corners = np.exp(generator.normal(0, 0.3, (2, 2))).astype(np.float32)
        pixels = pixels * cv2.resize(corners, (size, size), interpolation=cv2.INTER_LINEAR)[..., None]
    if generator.random() < 0.35:
        channels = 1 if generator.random() < 0.5 else 3
        noise = generator.standard_normal((size, size, channels), np.float32)
        pixels = pixels + noise * np.float32(np.exp(generator.uniform(0, np.log(20))))
    lit: U8Image = np.clip(pixels, 0, 255).astype(np.uint8)
    if generator.random() < 0.15:
        _, coded = cv2.imencode(".jpg", lit, [cv2.IMWRITE_JPEG_QUALITY, int(generator.integers(30, 95))])
        decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR)
        assert decoded is not None
        return decoded.astype(np.uint8, copy=False)
    return lit
