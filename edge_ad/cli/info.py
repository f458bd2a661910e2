"""`edge-ad info BUNDLE`: what a bundle is, without opening an engine."""

from __future__ import annotations

import argparse
import json

from edge_ad.bundle.file import Bundle
from edge_ad.bundle.models import MEMBERS
from edge_ad.calibration.rules import describe_rule
from edge_ad.engines import TARGETS
from edge_ad.serving.fidelity import describe_fidelity
from edge_ad.serving.profile import describe_profile
from edge_ad.spec import (
    REFERENCE,
    BackboneSpec,
    CalibrationSourceSpec,
    Manifest,
)
from edge_ad.spec.codec import encode
from edge_ad.system.tables import aligned, named
from edge_ad.system.versions import build_info

HELP = "Shows what a bundle holds, and what is installed here."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("bundle", nargs="?", help="the bundle file; if left out, only this machine is described")
    parser.add_argument("--json", action="store_true", help="everything, as JSON")


def run(options: argparse.Namespace) -> int:
    """Prints; returns the exit code."""
    machine = build_info()
    if options.bundle is None:
        print(json.dumps(machine, indent=2) if options.json else named(machine.items()))
        return 0
    with Bundle.open(options.bundle) as bundle:
        manifest, identity = bundle.manifest, bundle.id
    profile = describe_profile(identity, manifest.point_names)
    if options.json:
        document = {"id": identity, "manifest": encode(manifest), "machine": machine, "profile": profile}
        print(json.dumps(document, indent=2))
        return 0
    facts = {"bundle": f"{options.bundle} ({identity})", **describe(manifest), "profile": profile}
    print(named(facts.items()))
    if manifest.points:
        print()
        print(aligned(describe_points(manifest)))
    print()
    print(named(machine.items()))
    return 0


def describe(manifest: Manifest) -> dict[str, str]:
    """A line for each part of the manifest."""
    backbone, index, calibration = manifest.backbone, manifest.index, manifest.calibration
    there = [kind for kind, names in MEMBERS.items() if names[0] in manifest.members]
    targets = [name for kind in there for name, made in TARGETS.items() if made == (kind,)]
    graph, roi = None if index is None else index.graph, manifest.roi
    size = "any size" if manifest.frame.size is None else "{} x {}".format(*manifest.frame.size)
    return {
        "name": f"{manifest.name}, made {manifest.created}",
        "producer": ", ".join(f"{name} {version}" for name, version in manifest.producer.items()),
        "method": manifest.head.describe(),
        "frame": f"{size} at export, {manifest.frame.bit_depth} bit, {manifest.frame.color_order} arrays",
        "roi": "none" if roi is None else f"{roi.source}, halo {roi.halo_px} px",
        "backbone": f"{backbone.name} [{' '.join(backbone.layers)}], weights {backbone.weights}",
        "models": " ".join(targets),
        "tensor": "{} x {} of {} x {}, resized by {}".format(
            *backbone.tensor_size, *backbone.input_size, backbone.resize
        ),
        "patches": f"{backbone.grid[0]} x {backbone.grid[1]}, D = {backbone.dim}",
        "coreset": "none" if index is None else f"{index.size:,} of {index.patches:,} patches",
        "graph": "none" if graph is None else f"M {graph.m}, ef {graph.ef}, recall {graph.recall:.3f}",
        "threshold": f"{calibration.threshold:.4g} ({describe_rule(calibration.rule, calibration.value)} of "
        f"{len(calibration.good_scores)} held-out good images, {calibration.split}; "
        f"95% {calibration.interval[0]:.4g}..{calibration.interval[1]:.4g})",
        "calibrated": "at export" if calibration.source is None else _source(calibration.source),
    }


def describe_points(manifest: Manifest) -> list[tuple[str, ...]]:
    """A heading and a row for each operating point: engine, precision, threshold, fidelity and its own megabytes."""
    rows: list[tuple[str, ...]] = [("point", "engine", "precision", "input", "threshold", "MB", "fidelity")]
    for name in manifest.point_names:
        point, whole = manifest.find_point(name), manifest.at(name)
        engine = "any" if point is None else point.engine
        fidelity = "the reference" if point is None else describe_fidelity(point.fidelity)
        rows.append((name, engine, *_cost(manifest, name, whole.backbone), fidelity))
    return rows


def _cost(manifest: Manifest, name: str, backbone: BackboneSpec) -> tuple[str, ...]:
    own = [
        member.size
        for path, member in manifest.members.items()
        if path.startswith(f"points/{name}/") or (name == REFERENCE and not path.startswith("points/"))
    ]
    threshold = f"{manifest.at(name).calibration.threshold:.4g}"
    return backbone.precision, "{} x {}".format(*backbone.input_size), threshold, f"{sum(own) / 1e6:.1f}"


def _source(source: CalibrationSourceSpec) -> str:
    defects = f" and {source.defects} defects" if source.defects else ""
    digest = f", images sha256:{source.images_sha256[:16]}" if source.images_sha256 else ""
    return (
        f"{source.created} by edge-ad {source.edge_ad}, from bundle {source.bundle} (exported as {source.exported}): "
        f"{source.data}, {source.goods} good images{defects}{digest}, scored by {source.engine} {source.precision}"
    )
