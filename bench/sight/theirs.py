"""anomalib's side: PatchCore R18 at its defaults, over the same images and coreset seeds.

256 x 256, layer2 and layer3, coreset 0.1, 9 neighbours (Eq. 7). Scores and maps are raw: anomalib's normalisation
changes no order. Its threshold is the default one: of the highest F1 over the labelled test images themselves, as its
MVTec data module validates on them. A user who has good images only gets no such threshold.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from bench.peer import LAYERS
from bench.peer.process import PeerProcess, check_peer, open_peer
from bench.sight import record
from bench.sight.record import Identity, Record
from bench.sight.sets import LabelledSet
from edge_ad import native
from edge_ad.metrics import binary_auroc
from edge_ad.system.entry import say

SIZE, CORESET = 256, 0.1  # anomalib's defaults


class Peer:
    """anomalib's process, started when it is first asked for, and ended with `stack`.

    Args:
        weights: state dict of resnet18.
        scratch: folder for what the two processes hand over.

    Raises:
        SpecError: `python` has no anomalib.
    """

    def __init__(self, python: Path, weights: Path, threads: int, scratch: Path, stack: contextlib.ExitStack) -> None:
        self._start: Callable[[], PeerProcess] = lambda: stack.enter_context(
            open_peer(python, weights, SIZE, threads, scratch)
        )
        digest = hashlib.blake2b(weights.read_bytes(), digest_size=8).hexdigest()
        self.identity: Identity = {"anomalib": check_peer(python), "weights": digest, "size": SIZE}
        self.threads = threads
        self._shown: LabelledSet | None = None

    @cached_property
    def process(self) -> PeerProcess:
        return self._start()

    def show(self, found: LabelledSet) -> None:
        """Lets it extract the features of a set, once."""
        if self._shown is not found:
            say(f"{found.name}: anomalib extracts the features of {len(found.train) + len(found.test)} images")
            self.process.show_images(found.good_images(), [image.path for image in found.test], LAYERS)
            self._shown = found


class Theirs:
    """PatchCore of one set; memory banks and records are kept in `folder`."""

    def __init__(self, found: LabelledSet, peer: Peer, coreset: float, folder: Path) -> None:
        self.found, self.peer, self.coreset = found, peer, coreset
        self._folder = folder / found.name / f"anomalib-{coreset:g}"

    def bank(self, seed: int) -> Path:
        """Where its memory bank is: (N, D) float32."""
        return self._folder / f"seed-{seed}.npy"

    def record(self, seed: int) -> Record:
        """What it sees with a coreset seed."""
        path = self._folder / f"seed-{seed}.json"
        own = {"data": self.found.digest, "coreset": self.coreset, "seed": seed}
        identity = {**self.peer.identity, **own}
        old = record.kept(path, identity)
        if old is not None and self.bank(seed).exists():
            return old
        self._folder.mkdir(parents=True, exist_ok=True)
        made = self._make(seed)
        record.keep(path, identity, made)
        return made

    def _make(self, seed: int) -> Record:
        found, process = self.found, self.peer.process
        self.peer.show(found)
        rows = process.coreset_rows(seed, self.coreset, native.Pool(self.peer.threads))
        saved = process.save("rows.npy", rows)
        seen = process.inspect("patchcore", resize="anomalib", rows=saved, bank=str(self.bank(seed).absolute()))
        pixel = binary_auroc(seen.maps[~found.masks], seen.maps[found.masks]) if found.has_masks else None
        scores = seen.scores.tolist()
        threshold = record.best_threshold(scores, found.defects.tolist())
        facts = {"threshold": threshold, "coreset": len(rows), "versions": process.versions}
        return Record(scores, [score >= threshold for score in scores], pixel, None, None, facts)


def rounds(theirs: Theirs, seed: int, frames: list[np.ndarray], count: int) -> Iterator[list[float]]:
    """Milliseconds of each (H, W, 3) u8 BGR frame, from memory to score and map, by OpenVINO in f32; a list a round."""
    process = theirs.peer.process
    process.ask("open", bank=str(theirs.bank(seed).absolute()))
    path = process.save_all("frames.npz", frames)
    for _ in range(count):
        yield process.ask("time", frames=path)["ms"]
