"""Finishes a bundle: writes it with its golden probes, opens it again and checks it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import math
import platform
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edge_ad.bundle.file import Members, write_bundle
from edge_ad.engines import Engine
from edge_ad.errors import BundleError
from edge_ad.registry import ENGINES, engine_package
from edge_ad.runtime import Runtime
from edge_ad.spec import Manifest
from edge_ad.system.files import folder_beside, is_special, scratch_for, write_output
from export.options import Options
from export.probes import make_probes, probe_frames, probe_size, probe_stacks
from export.summary import Summary


def finish(out: Path, manifest: Manifest, members: Members, good: Path, options: Options, summary: Summary) -> None:
    """Writes the bundle, opens it again and checks it.

    A pipe or a device cannot be opened again. So a copy is checked first.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(folder_beside(scratch_for(out)))
        except OSError as error:
            raise BundleError(f"{out} cannot be written", got=error.strerror, remedy="Give another --out.") from error
        whole = folder / "whole.bundle" if is_special(out) else out
        with summary.stage("bundle"):
            _write(whole, manifest, members, good, options, folder / "draft.bundle")
        with summary.stage("check"):
            identity = _open_and_check(whole, manifest.point_names, good, options, summary)
        summary.say("bundle", f"{out} ({whole.stat().st_size / 1e6:.1f} MB, id {identity})")
        if whole != out:
            write_output(out, [whole.read_bytes()])


def _write(out: Path, manifest: Manifest, members: Members, good: Path, options: Options, draft: Path) -> None:
    """Writes the bundle. The runtime answers the golden probes on a draft without them."""
    write_bundle(draft, manifest, members, called=out)
    points = {point.name: point for point in manifest.points}
    for name in manifest.point_names:
        runtime = Runtime(draft, point=name, search="exact", threads=options.threads)
        largest = max((sight.backbone for sight in manifest.at(name).sights), key=lambda b: math.prod(b.input_size))
        if manifest.frame.stack is None:
            frames = probe_frames(good, manifest.frame.white_level, probe_size(largest), options.seed)
        else:
            frames = probe_stacks(good, manifest.frame, probe_size(largest), options.seed)
        spec, answers = make_probes(runtime, frames, options.seed)
        if name in points:
            points[name] = replace(points[name], probes=spec)
            members |= {f"points/{name}/{member}": value for member, value in answers.items()}
        else:
            manifest = replace(manifest, probes=spec)
            members |= answers
    write_bundle(out, replace(manifest, points=tuple(points.values())), members)


def _open_and_check(out: Path, points: Sequence[str], good: Path, options: Options, summary: Summary) -> str:
    """Runs the golden probes of the bundle and returns its id. It times a frame in tiles, which takes seconds."""
    for name in points[1:]:
        Runtime(out, point=name, threads=options.threads, self_check=True)
    runtime = Runtime(out, threads=options.threads, self_check=True)
    summary.say(
        "runtime",
        f"{runtime.engine} {runtime.precision}, search {runtime.search}, {runtime.threads} threads; golden probes pass",
    )
    if runtime.manifest.backbone.tiles is not None:
        taken = min(runtime.inspect(good).latency_ms for _ in range(2))
        summary.say("time", f"{taken:,.0f} ms a frame, measured here with {runtime.threads} threads")
    return runtime.bundle_id


def producer_of(engine: Engine) -> dict[str, str]:
    """Versions for the manifest: of Python, of the engine that made the patches, and of each package that took part."""
    producer = {"python": platform.python_version(), "engine": f"{engine.name} {engine.version}"}
    for package in (
        "edge-ad",
        "torch",
        "torchvision",
        "onnx",
        *map(engine_package, ENGINES),
        "nncf",
        "hnswlib",
        "numpy",
    ):
        try:
            producer[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return producer
