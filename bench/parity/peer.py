"""anomalib's side. It runs in a separate process and environment, and imports nothing of edge-ad.

Started by `python -m bench.parity`; reads a request in JSON a line, answers with a line. Features of the backbone are
kept; anomalib's models do all that follows. A request may replace a stage before anomalib's own code by edge-ad's: the
resized image, the pooling of patches, the upsampling of the deeper layers, which channels, which rows of the coreset.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from anomalib.data.utils import read_image
from anomalib.models import Padim, Patchcore
from anomalib.models.components.sampling import KCenterGreedy
from torch import nn
from torch.nn import functional

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
        self.size = size
        model = Padim("resnet18", ALL_LAYERS, pre_trained=False, pre_processor=self._pre_processor())
        load_weights(model.model.feature_extractor, torch.load(weights, weights_only=True))
        self.network, self.transform = model.model.feature_extractor.eval(), model.pre_processor.transform
        self.features: dict[str, list[Features]] = {}
        self.good_images = 0

    def _pre_processor(self) -> Any:
        return Patchcore.configure_pre_processor(image_size=(self.size, self.size))

    def images(self, good_images: list[str], test: list[str], crops: str) -> dict[str, object]:
        """Extracts the features of files, resized by anomalib, and of edge-ad's crops (n, H, W, 3) u8 BGR of them."""
        self.good_images = len(good_images)
        ours = np.load(crops, mmap_mode="r")
        files = (read_image(path, as_tensor=True)[None] for path in good_images + test)
        resized = (torch.from_numpy(crop[:, :, ::-1].copy()).permute(2, 0, 1)[None] / 255 for crop in ours)
        with torch.no_grad():
            self.features = {
                "anomalib": [self.network(self.transform(image)) for image in files],
                "edge-ad": [self.network(self.transform(image)) for image in resized],
            }
        return {}

    def patchcore(self, resize: str, rows: str | None, **request: Any) -> dict[str, np.ndarray]:
        """PatchCore with the coreset of these rows."""
        model = self._patchcore(resize)
        model.memory_bank = torch.vstack(model.embedding_store)[torch.from_numpy(np.load(rows))]
        return self._inspect(model, resize)

    def project(self, resize: str, seed: int, fraction: float, out: str) -> dict[str, object]:
        """What anomalib's greedy selection starts from: projected patches, the size wanted, and its first picks."""
        embedding = torch.vstack(self._patchcore(resize).embedding_store)
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - the projection may draw from it
        sampler = KCenterGreedy(embedding, fraction)
        wanted, sampler.coreset_size = sampler.coreset_size, 24
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
        layers = ALL_LAYERS[1:]
        model = Patchcore("resnet18", layers, pre_trained=False, post_processor=False).model
        model.feature_extractor = Recall(layers, pool=False, bilinear=False)
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


def load_weights(extractor: nn.Module, state: Features) -> None:
    """Loads a state dict up to layer3 into anomalib's extractor, whose names have a prefix."""
    target = extractor.state_dict()
    prefix = next(key for key in target if key.endswith("conv1.weight")).split("conv1.weight")[0]
    loaded = {prefix + key: value for key, value in state.items() if prefix + key in target}
    missing = [key for key in set(target) - set(loaded) if "layer4" not in key and "fc." not in key]
    if missing:
        raise SystemExit(f"the weights do not cover the peer's backbone: {missing[:3]}")
    extractor.load_state_dict(loaded, strict=False)


def main() -> None:
    weights, size, threads = sys.argv[1:]
    peer = Peer(weights, int(size), int(threads))
    names = ("anomalib", "torch", "torchvision", "timm", "numpy")
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
