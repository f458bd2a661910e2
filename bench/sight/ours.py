"""edge-ad's side: `python -m export SET --seed S`, and what the runtime then says of the test images."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

from bench.material import FIXED
from bench.seen import see
from bench.sight import record
from bench.sight.record import Record
from bench.sight.sets import LabelledSet
from edge_ad import Runtime, build_info
from edge_ad.calibration.promise import asked_rate
from edge_ad.metrics import binary_auroc
from export.options import Options
from export.pipeline import export_bundle

DEFAULTS = "defaults"
Variants = dict[str, dict[str, Any]]


def variants(weights: Path | None, coreset: float) -> Variants:
    """Name of each way to export -> options beside the images, the seed and the bundle: none, and with resnet18's
    `weights` that, its settings chosen by the export; and the same with the peer's settings."""
    found: Variants = {DEFAULTS: {}}
    if weights is not None:
        chosen = {"backbone": "resnet18", "weights": weights}
        theirs = {**FIXED, "coreset": coreset, "reweight": 9}
        found |= {"resnet18, chosen": chosen, "resnet18, the peer's settings": {**chosen, **theirs}}
    return found


class Ours:
    """Exports and inspects one set by one variant; bundles and records are kept in `folder`."""

    def __init__(self, found: LabelledSet, variant: str, options: dict[str, Any], folder: Path) -> None:
        self.found, self.variant, self._options = found, variant, options
        name = "".join(letter if letter.isalnum() else "-" for letter in variant)
        self._folder = folder / found.name / name

    def bundle(self, seed: int) -> Path:
        """Where its bundle is."""
        return self._folder / f"seed-{seed}.bundle"

    def record(self, seed: int) -> Record:
        """What it sees with a coreset seed."""
        path = self._folder / f"seed-{seed}.json"
        options = {name: str(value) for name, value in self._options.items()}
        identity = {"data": self.found.digest, "code": record.code_digest(), "options": options, "seed": seed}
        old = record.kept(path, identity)
        if old is not None and self.bundle(seed).exists():
            return old
        made = self._make(seed)
        record.keep(path, identity, made)
        return made

    def _make(self, seed: int) -> Record:
        out, found = self.bundle(seed), self.found
        out.parent.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        with contextlib.redirect_stdout(sys.stderr):
            export_bundle(Options(str(found.folder.absolute()), seed=seed, out=out, **self._options))
        seconds = time.perf_counter() - start
        runtime = Runtime(out)
        seen = see(runtime, found.test)
        pixel = None
        if seen.maps is not None and found.has_masks:
            pixel = binary_auroc(seen.maps[~found.masks], seen.maps[found.masks])
        manifest = dataclasses.asdict(runtime.manifest)
        facts = {name: value for name, value in manifest.items() if name not in ("members", "probes")}
        facts |= {"threshold": runtime.threshold, "point": runtime.point, "versions": build_info()}
        calibration = runtime.manifest.calibration
        promised = asked_rate(calibration.rule, calibration.value)
        return Record(seen.scores.tolist(), seen.anomalous.tolist(), pixel, promised, seconds, facts)
