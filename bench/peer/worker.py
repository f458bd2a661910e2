"""anomalib's side. It runs in a separate process and environment, and imports nothing of edge-ad.

Started by `bench.peer.process.open_peer`; reads a request in JSON a line, answers with a line. Features of the backbone
are kept; anomalib's models do all that follows. A request may replace a stage before anomalib's own code by edge-ad's:
the resized image, the pooling of patches, the upsampling of the deeper layers, which channels, which rows of the
coreset.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import cv2
import numpy as np
import torch
from anomalib.data.utils import read_image
from anomalib.models import Padim, Patchcore
from anomalib.models.components.sampling import KCenterGreedy
from torch import nn
from torch.nn import functional
from torchvision.transforms.v2 import Normalize

from bench.peer import LAYERS
from bench.peer.models import load_weights, openvino_call, patchcore

warnings.filterwarnings("ignore")

BATCH = 8  # images
ALL_LAYERS = ["layer1", "layer2", "layer3"]
Features = dict[str, torch.Tensor]


class Recall(nn.Module):
    """Stands in for a model's feature extractor: gives features that were extracted before.

    Args:
        layers: those to give, the first with the finest grid.
        pool: 3 x 3 averages of them, as edge-ad has for every method.
        bilinear: the deeper ones upsampled to the first one's grid, so that the model's own upsampling does nothing.
    """

    def __init__(self, layers: list[str], pool: bool, bilinear: bool) -> None:
        super().__init__()
        self.layers, self.pool, self.bilinear = layers, pool, bilinear
        self.current: Features = {}

    def forward(self, _image: torch.Tensor) -> Features:
        found = {layer: self.current[layer] for layer in self.layers}
        if self.pool:
            found = {layer: functional.avg_pool2d(each, 3, 1, 1) for layer, each in found.items()}
        if self.bilinear:
            grid = found[self.layers[0]].shape[-2:]
            found = {layer: functional.interpolate(each, grid, mode="bilinear") for layer, each in found.items()}
        return found


class Peer:
    """Features of the images of a category, and the requests."""

    def __init__(self, weights: str, size: int, threads: int) -> None:
        torch.set_num_threads(threads)
        self.size, self.threads = size, threads
        self.weights = torch.load(weights, weights_only=True)
        model = Padim("resnet18", ALL_LAYERS, pre_trained=False, pre_processor=self._pre_processor())
        load_weights(model.model.feature_extractor, self.weights)
        self.network, self.transform = model.model.feature_extractor.eval(), model.pre_processor.transform
        self.features: dict[str, list[Features]] = {}
        self.good_images = 0
        self.call: Callable[[np.ndarray], float] | None = None

    def _pre_processor(self) -> Any:
        return Patchcore.configure_pre_processor(image_size=(self.size, self.size))

    def images(
        self, good_images: list[str], test: list[str], layers: list[str], crops: str | None
    ) -> dict[str, object]:
        """Extracts the features of files, resized by anomalib; and of edge-ad's crops of them, if they are given:
        (n, H, W, 3) BGR, u8 or float32 of the same range."""
        self.good_images = len(good_images)
        files = (read_image(path, as_tensor=True)[None] for path in good_images + test)
        self.features = {"anomalib": self._features(files, layers)}
        if crops is not None:
            resized = (as_image(crop) for crop in np.load(crops, mmap_mode="r"))
            self.features["edge-ad"] = self._features(resized, layers)
        return {}

    def apart(self, paths: list[str], crops: str) -> dict[str, object]:
        """The largest difference of a pixel, in grey levels, between files that anomalib resizes and crops of them, as
        `images` has them."""
        std = next(each for each in self.transform.transforms if isinstance(each, Normalize)).std
        levels = 255 * torch.as_tensor(std)[:, None, None]  # for a step of 1, as it is normalised
        off = 0.0
        for path, crop in zip(paths, np.load(crops, mmap_mode="r"), strict=True):
            theirs = self.transform(read_image(path, as_tensor=True)[None])
            off = max(off, float(((theirs - self.transform(as_image(crop))).abs() * levels).max()))
        return {"levels": off}

    def _features(self, images: Iterable[torch.Tensor], layers: list[str]) -> list[Features]:
        with torch.no_grad():
            found = (self.network(self.transform(image)) for image in images)
            return [{layer: each[layer].clone() for layer in layers} for each in found]

    def patchcore(self, resize: str, rows: str, bank: str | None = None, **request: Any) -> dict[str, np.ndarray]:
        """PatchCore with the coreset of these rows; `bank` is a file to save its memory bank in."""
        model = self._patchcore(resize)
        model.memory_bank = torch.vstack(model.embedding_store)[torch.from_numpy(np.load(rows))]
        model.embedding_store.clear()
        if bank is not None:
            np.save(bank, model.memory_bank.numpy())
        return self._inspect(model, resize)

    def open(self, bank: str) -> dict[str, object]:
        """Compiles PatchCore with this memory bank by OpenVINO in f32, for `time`."""
        model = patchcore("resnet18", self.weights, self.size, np.load(bank))
        config = {"INFERENCE_NUM_THREADS": self.threads, "INFERENCE_PRECISION_HINT": "f32"}
        predict, size = openvino_call(model, self.size, config), (self.size, self.size)
        # OpenCV resizes beforehand: frames of a set may differ in size, and the resize in its graph is slower
        self.call = lambda frame: predict(cv2.resize(frame, size, interpolation=cv2.INTER_AREA))
        return {}

    def time(self, frames: str) -> dict[str, object]:
        """Milliseconds of each of the (H, W, 3) u8 BGR frames in an .npz file, from memory to score and map."""
        assert self.call is not None
        with np.load(frames) as file:
            pixels = [np.ascontiguousarray(file[name][:, :, ::-1]) for name in file.files]  # it wants RGB
        ms = []
        for each in pixels:
            start = time.perf_counter()
            self.call(each)
            ms.append(1e3 * (time.perf_counter() - start))
        return {"ms": ms}

    def project(self, resize: str, seed: int, fraction: float, out: str) -> dict[str, object]:
        """What anomalib's greedy selection starts from: projected patches, the size wanted, and its first picks."""
        embedding = torch.vstack(self._patchcore(resize).embedding_store)
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - the projection may draw from it
        sampler = KCenterGreedy(embedding, fraction)
        wanted, sampler.coreset_size = sampler.coreset_size, min(24, sampler.coreset_size)
        first = sampler.select_coreset_idxs()
        np.save(out, sampler.features.numpy())
        return {"wanted": wanted, "first": [int(row) for row in first]}

    def padim(
        self, resize: str, layers: list[str], seed: int, channels: list[int] | None, pool: bool, bilinear: bool
    ) -> dict[str, np.ndarray]:
        """PaDiM with these channels; by its own draw where None."""
        torch.manual_seed(seed)
        model = Padim("resnet18", layers, pre_trained=False, post_processor=False).model
        if channels is not None:
            assert len(channels) == len(model.idx)
            model.idx = torch.tensor(channels)
        model.feature_extractor = Recall(layers, pool, bilinear)
        self._feed(model, resize)
        model.fit()
        return self._inspect(model, resize)

    def _patchcore(self, resize: str) -> nn.Module:
        model = Patchcore("resnet18", LAYERS, pre_trained=False, post_processor=False).model
        model.feature_extractor = Recall(LAYERS, pool=False, bilinear=False)
        self._feed(model, resize)
        return model

    def _feed(self, model: nn.Module, resize: str) -> None:
        model.train()
        for count in self._batches(model, self.features[resize][: self.good_images]):
            model(self._blank(count))

    def _inspect(self, model: nn.Module, resize: str) -> dict[str, np.ndarray]:
        """Scores (not normalised), patch distances and anomaly maps of the test images."""
        model.eval()
        seen: list[torch.Tensor] = []
        keep_distances(model.anomaly_map_generator, seen)
        scores, maps = [], []
        with torch.no_grad():
            for count in self._batches(model, self.features[resize][self.good_images :]):
                found = model(self._blank(count))
                scores.append(found.pred_score.reshape(-1).double())
                maps.append(found.anomaly_map[:, 0])
        distances = torch.cat([each[:, 0] for each in seen])
        return {"scores": torch.cat(scores).numpy(), "distances": distances.numpy(), "maps": torch.cat(maps).numpy()}

    @staticmethod
    def _batches(model: nn.Module, features: list[Features]) -> Iterator[int]:
        """Lets the model's extractor give the features of some images at a time; how many they are."""
        for start in range(0, len(features), BATCH):
            batch = features[start : start + BATCH]
            model.feature_extractor.current = {name: torch.cat([each[name] for each in batch]) for name in batch[0]}
            yield len(batch)

    def _blank(self, count: int) -> torch.Tensor:
        return torch.zeros(count, 3, self.size, self.size)  # of images a model asks only the size


def as_image(crop: np.ndarray) -> torch.Tensor:
    """An (H, W, 3) BGR picture of 0..255 as anomalib's models take one: (1, 3, H, W) RGB, 0..1."""
    return torch.from_numpy(crop[:, :, ::-1].copy()).permute(2, 0, 1)[None] / 255


def keep_distances(generator: nn.Module, seen: list[torch.Tensor]) -> None:
    """Lets the maker of anomaly maps note the (n, 1, h, w) patch distances that it is given or computes."""
    if hasattr(generator, "compute_distance"):  # PaDiM's
        compute = generator.compute_distance

        def noted(*given: Any, **named: Any) -> torch.Tensor:
            seen.append(compute(*given, **named))
            return seen[-1]

        generator.compute_distance = noted
    else:  # PatchCore's
        generator.register_forward_pre_hook(lambda _, given: seen.append(given[0]))


def main() -> None:
    weights, size, threads = sys.argv[1:]
    peer = Peer(weights, int(size), int(threads))
    names = ("anomalib", "torch", "torchvision", "timm", "openvino", "numpy")
    print(json.dumps({"versions": {name: importlib.metadata.version(name) for name in names}}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        name, answers = request.pop("request"), request.pop("answers", None)
        found = getattr(peer, name)(**request)
        if answers:
            np.savez(answers, **found)
            found = {}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
