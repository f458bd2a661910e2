"""The comparison on one category: every step from anomalib to edge-ad, for each seed."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from bench.material import FIXED
from bench.parity import own
from bench.parity.compare import Figures, Truth
from bench.peer.answers import Answers
from bench.peer.process import PeerProcess
from edge_ad.data.layouts import load_category
from export.fit.base import Material
from export.options import Options

SIZE = (256, 256)
NEIGHBORS = 9  # of Eq. 7, anomalib's default
LAYERS = (("layer2", "layer3"), ("layer1", "layer2", "layer3"))  # edge-ad's default, and anomalib's for PaDiM
METHODS = ("patchcore", "padim")
PATCHCORE = "PatchCore, Eq. 7"
PLAIN = "PatchCore, plain maximum"
OWN, SAME, EDGE = "anomalib, draws of its own", "anomalib, edge-ad's draws", "edge-ad: rounded to 8 bits"
UNROUNDED = "edge-ad, but not rounded to 8 bits"
RESIZE, MAP = "+ edge-ad's resize, not rounded", "+ edge-ad's map"
BILINEAR, POOL, LARGEST = "+ deeper layers upsampled bilinearly", "+ patches of 3 x 3", "+ score: largest distance"

Steps = dict[str, Figures]
Pixels = dict[tuple[tuple[str, ...], int], float]  # what is left out, id of the maps -> pixel AUROC


class Category:
    """One category.

    Args:
        options: `coreset`, `resize`, `seeds`, `weights`, `threads`, `leave_out`, `methods`.
        folder: for scratch files.
    """

    def __init__(self, path: Path, options: Any, peer: PeerProcess, folder: Path) -> None:
        self.options, self.peer, self.folder = options, peer, folder
        loaded = load_category(path)
        self.path, self.good_images, self.images = path, own.good_images(loaded), list(loaded.test)
        self.truth = own.truth_of(self.images, SIZE)
        self.seeds = range(options.seeds)
        self.selections: list[tuple[str, ...]] = [()]
        if set(options.leave_out) & set(self.truth.kinds):
            self.selections.append(tuple(options.leave_out))
        self.residuals: dict[str, float] = {}
        self.apart: dict[str, float] = {}  # of resized pixels from anomalib's: largest, in grey levels

    def run(self) -> dict[str, dict[tuple[str, ...], Steps]]:
        """Figures of each method, by what is left out, by step, by seed."""
        found: dict[str, dict[tuple[str, ...], Steps]] = {}
        methods = self.options.methods
        for number, layers in enumerate(LAYERS if "padim" in methods else LAYERS[:1]):
            settings = Options(
                str(self.path), backbone="resnet18", weights=self.options.weights, layers=layers, **FIXED
            )
            given = {name: getattr(self.options, name) for name in ("coreset", "threads", "resize")}
            settings = replace(settings, reweight=NEIGHBORS, **given)
            asked = self.good_images, settings, self.folder
            with own.open_material(*asked) as material, own.open_material(*asked, rounded=False) as unrounded:
                if number == 0:
                    self._show_images(material, unrounded)
                if number == 0 and "patchcore" in methods:
                    found[PATCHCORE], found[PLAIN] = self._patchcore(material, unrounded)
                if "padim" in methods:
                    name = f"PaDiM, {'+'.join(layers)}"
                    found[name] = self._padim(material, unrounded, layers, name)
        return found

    def _show_images(self, material: Material, unrounded: Material) -> None:
        test = [image.path for image in self.images]
        paths = [*self.good_images, *test]
        for name, each in ((EDGE, material), (UNROUNDED, unrounded)):
            crops = self.peer.save("crops.npy", own.crops(each, paths))
            self.apart[name] = self.peer.apart(paths, crops)
        self.peer.show_images(self.good_images, test, LAYERS[1], crops)  # those that are not rounded

    def _patchcore(self, material: Material, unrounded: Material) -> list[dict[tuple[str, ...], Steps]]:
        heads = {seed: own.fit(material, "patchcore", seed) for seed in self.seeds}
        chosen = {seed: own.coreset_rows(material, seed, heads[seed]) for seed in self.seeds}
        finer = {seed: own.fit(unrounded, "patchcore", seed, chosen[seed]) for seed in self.seeds}
        ours, ours_finer = own.inspect(material, heads, self.images), own.inspect(unrounded, finer, self.images)
        with_eq7, plain = _Table(self, PATCHCORE), _Table(self, PLAIN)
        for seed in self.seeds:
            own_rows = self.peer.coreset_rows(seed, self.options.coreset, material.pool)
            first = self.peer.inspect("patchcore", resize="anomalib", rows=self.peer.save("peer_rows.npy", own_rows))
            rows = self.peer.save("rows.npy", chosen[seed])
            same = self.peer.inspect("patchcore", resize="anomalib", rows=rows)
            resized = self.peer.inspect("patchcore", resize="edge-ad", rows=rows)
            last = resized.with_our_maps()
            steps = {OWN: first, SAME: same, RESIZE: resized, MAP: last, UNROUNDED: ours_finer[seed], EDGE: ours[seed]}
            pixel = with_eq7.add(steps, {})
            plain.add({name: answers.with_largest() for name, answers in steps.items()}, pixel)
        return [with_eq7.figures, plain.figures]

    def _padim(
        self, material: Material, unrounded: Material, layers: tuple[str, ...], name: str
    ) -> dict[tuple[str, ...], Steps]:
        resized = {"resize": "edge-ad"}
        asked: dict[str, dict[str, Any]] = {
            OWN: {"channels": None},
            SAME: {},
            RESIZE: resized,
            BILINEAR: {**resized, "bilinear": True},
            POOL: {**resized, "bilinear": True, "pool": True},
        }
        ours, ours_finer = (
            own.inspect(each, {seed: own.fit(each, "padim", seed) for seed in self.seeds}, self.images)
            for each in (material, unrounded)
        )
        table = _Table(self, name)
        for seed in self.seeds:
            chosen = [int(channel) for channel in own.channels(material, seed)]
            same = {"resize": "anomalib", "layers": layers, "seed": seed, "channels": chosen}
            same |= {"bilinear": False, "pool": False}
            steps = {step: self.peer.inspect("padim", **{**same, **changes}) for step, changes in asked.items()}
            steps[MAP] = steps[POOL].with_our_maps()
            steps[LARGEST] = steps[MAP].with_largest()
            table.add({**steps, UNROUNDED: ours_finer[seed], EDGE: ours[seed]}, {})
        return table.figures


class _Table:
    """Gathers the figures of a method, seed by seed, and how far the peer's last step is from edge-ad, not rounded."""

    def __init__(self, category: Category, name: str) -> None:
        self._category, self._name = category, name
        self.figures: dict[tuple[str, ...], Steps] = {each: {} for each in category.selections}

    def add(self, steps: dict[str, Answers], pixel: Pixels) -> Pixels:
        """Takes up what a seed gave; `pixel` has the pixel AUROC of maps that are known, and comes back with all."""
        truth, residuals = self._category.truth, self._category.residuals
        if not residuals:
            cross_check(steps[EDGE], truth)
        last, unrounded = list(steps.values())[-3:-1]
        off = float(np.max(np.abs(last.scores / unrounded.scores - 1)))
        residuals[self._name] = max(off, residuals.get(self._name, 0.0))
        for left_out, table in self.figures.items():
            for step, answers in steps.items():
                known = (left_out, id(answers.maps))  # steps that change only scores share their maps
                if known not in pixel:
                    pixel[known] = truth.pixel_auroc(answers, left_out)
                figures = (truth.image_auroc(answers, left_out), pixel[known])
                table.setdefault(step, []).append(figures)
                without = f"without {', '.join(left_out)}" if left_out else "all"
                said = f"{self._category.path.name}, {without}: {self._name}: {step}: "
                print(f"{said}image {figures[0]:.4f} pixel {figures[1]:.4f}", file=sys.stderr, flush=True)
        return pixel


def cross_check(answers: Answers, truth: Truth) -> None:
    """edge-ad's AUROC against scikit-learn's."""
    labels = [kind is not None for kind in truth.kinds]
    np.testing.assert_allclose(truth.image_auroc(answers), roc_auc_score(labels, answers.scores), rtol=1e-9)
    if truth.masks is not None:
        pixel = roc_auc_score(truth.masks.ravel(), answers.maps.ravel())
        np.testing.assert_allclose(truth.pixel_auroc(answers), pixel, rtol=1e-9)
