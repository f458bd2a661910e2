"""`edge-ad info BUNDLE`: what a bundle is, without opening an engine."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable

from edge_ad.bundle.file import Bundle
from edge_ad.bundle.models import MEMBERS
from edge_ad.calibration.promise import promise
from edge_ad.calibration.rules import describe_rule
from edge_ad.engines import TARGETS
from edge_ad.metrics.power import describe_power, describe_seen
from edge_ad.serving.fidelity import describe_fidelity
from edge_ad.serving.profile import describe_profile
from edge_ad.spec import (
    DISTANCES,
    REFERENCE,
    BackboneSpec,
    CalibrationSourceSpec,
    CalibrationSpec,
    IndexSpec,
    Manifest,
    StackSpec,
)
from edge_ad.spec.codec import encode
from edge_ad.system.names import printable
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
    print(named((name, printable(text)) for name, text in facts.items()))
    if manifest.points:
        print()
        print(aligned(describe_points(manifest)))
    print()
    print(named(machine.items()))
    return 0


def describe(manifest: Manifest) -> dict[str, str]:
    """A line for each part of the manifest."""
    backbone, calibration, sights = manifest.backbone, manifest.calibration, manifest.sights
    there = [kind for kind, names in MEMBERS.items() if names[0] in manifest.members]
    targets = [name for kind in there for name, made in TARGETS.items() if made == (kind,)]
    backbones, roi = [sight.backbone for sight in sights], manifest.roi
    size = "any size" if manifest.frame.size is None else "{} x {}".format(*manifest.frame.size)
    left_out = f", {calibration.left_out} odd ones left out" if calibration.left_out else ""
    kind = "held-out good images" if calibration.held_out else "good images"
    return {
        "name": f"{manifest.name}, made {manifest.created}",
        "producer": ", ".join(f"{name} {version}" for name, version in manifest.producer.items()),
        "method": manifest.head.describe(),
        "frame": f"{size} at export, {manifest.frame.bit_depth} bit, {manifest.frame.color_order} arrays",
        **({} if manifest.frame.stack is None else {"stack": _stack(manifest.frame.stack)}),
        "roi": "none" if roi is None else f"{roi.source}, halo {roi.halo_px} px",
        **_align(manifest),
        "backbone": f"{backbone.name} [{' '.join(backbone.layers)}], weights {backbone.weights}",
        "models": " ".join(targets),
        **_joined(manifest),
        "tensor": _each("{} x {} of {} x {}".format(*b.tensor_size, *b.input_size) + _tiles(b) for b in backbones)
        + f", resized by {_each(b.resize for b in backbones)}",
        "patches": _each(f"{b.grid[0]} x {b.grid[1]}, D = {b.dim}" for b in backbones)
        + (f", of length 1: {backbone.distance} distance" if backbone.distance != DISTANCES[0] else ""),
        "coreset": _each(_coreset(sight.index) for sight in sights),
        "graph": _each(_graph(sight.index) for sight in sights),
        "threshold": f"{calibration.threshold:.4g} ({describe_rule(calibration.rule, calibration.value)} of "
        f"{len(calibration.good_scores)} {kind}, {calibration.split}{left_out}; "
        f"95% {calibration.interval[0]:.4g}..{calibration.interval[1]:.4g})",
        **_promise(calibration),
        **_seen(manifest),
        "calibrated": _origin(manifest) if calibration.source is None else _source(calibration.source),
        **_taught(manifest),
        "drift": _drift(manifest),
    }


def _stack(stack: StackSpec) -> str:
    """The pictures of a frame, and how they become normals."""
    ambient = " and one without" * stack.ambient
    even = "" if stack.lights.field_size is None else ", evened by fields"
    return (
        f"a picture under each of {stack.lights.count} lights{ambient}, normals {stack.method}{even}; refused with a "
        f"residual above {stack.most_residual:.4f} of the albedo, or normals in less than {stack.least_lit:.1%}"
    )


def _promise(own: CalibrationSpec) -> dict[str, str]:
    """What its good images can promise; nothing if it keeps no scores, or may have learned from those images."""
    scores = own.good_scores
    return {"promise": promise(own.rule, own.value, own.threshold, scores)} if scores and own.held_out else {}


def _origin(manifest: Manifest) -> str:
    return "when it was taught" if manifest.taught else "at export"


def _taught(manifest: Manifest) -> dict[str, str]:
    """What it has learned since its export; nothing if it has not."""
    lessons = (
        f"{lesson.images} good images, {lesson.created} by edge-ad {lesson.edge_ad}, from bundle {lesson.bundle}"
        for lesson in manifest.taught
    )
    return {"taught": "; ".join(lessons)} if manifest.taught else {}


def _drift(manifest: Manifest) -> str:
    """What a station compares its frames with."""
    own = manifest.drift
    if own is None:
        return "no reference: a station takes its first good parts"
    return f"{', '.join(own.statistics)} of {own.images} good images, to which a station compares its frames"


def _align(manifest: Manifest) -> dict[str, str]:
    """How the part is followed; nothing where every frame is taken as it is."""
    own = manifest.align
    if own is None:
        return {}
    turns = f", turn {own.most_turn:g} degrees, scale {100 * own.most_scale:g}%" if own.most_turn else ""
    return {
        "align": f"{own.motion} up to {100 * own.most_shift:g}% of the frame{turns}; found from confidence "
        f"{own.least:.2f} (good images, moved: {own.good:.2f} or more)"
    }


def _tiles(backbone: BackboneSpec) -> str:
    tiles = backbone.tiles
    return "" if tiles is None else " in tiles of {} x {}, overlap {}".format(*tiles.size, tiles.overlap)


def _seen(manifest: Manifest) -> dict[str, str]:
    """What the bundle sees, by synthetic defects; nothing in bundles that do not say."""
    if manifest.power is None:
        return {}
    threshold = manifest.calibration.threshold
    return {
        "power": describe_power(manifest.power, threshold),
        "sees": f"{describe_seen(manifest.power, threshold)} (synthetic defects)",
    }


def _joined(manifest: Manifest) -> dict[str, str]:
    """How two input sizes are joined; nothing if there is one."""
    if manifest.second is None:
        return {}
    how = f"joined: the larger score counts, the second one times {manifest.second.factor:.4g}"
    return {"input": f"{_sizes(manifest)}, {how}"}


def _sizes(manifest: Manifest) -> str:
    return _each("{} x {}".format(*sight.backbone.input_size) for sight in manifest.sights)


def _each(texts: Iterable[str]) -> str:
    """A text for each input size; one if they are the same."""
    return " and ".join(dict.fromkeys(texts))


def _coreset(index: IndexSpec | None) -> str:
    return "none" if index is None else f"{index.size:,} of {index.patches:,} patches"


def _graph(index: IndexSpec | None) -> str:
    graph = None if index is None else index.graph
    return "none" if graph is None else f"M {graph.m}, ef {graph.ef}, recall {graph.recall:.3f}"


def describe_points(manifest: Manifest) -> list[tuple[str, ...]]:
    """A heading and a row for each operating point: engine, precision, threshold, fidelity and its own megabytes."""
    rows: list[tuple[str, ...]] = [("point", "engine", "precision", "input", "threshold", "MB", "fidelity")]
    for name in manifest.point_names:
        point, whole = manifest.find_point(name), manifest.at(name)
        engine = "any" if point is None else point.engine
        fidelity = "the reference" if point is None else describe_fidelity(point.fidelity)
        rows.append((name, engine, whole.backbone.precision, *_cost(manifest, name), fidelity))
    return rows


def _cost(manifest: Manifest, name: str) -> tuple[str, ...]:
    """Input sizes, threshold and megabytes of a point."""
    own = [
        member.size
        for path, member in manifest.members.items()
        if path.startswith(f"points/{name}/") or (name == REFERENCE and not path.startswith("points/"))
    ]
    whole = manifest.at(name)
    return _sizes(whole), f"{whole.calibration.threshold:.4g}", f"{sum(own) / 1e6:.1f}"


def _source(source: CalibrationSourceSpec) -> str:
    defects = f" and {source.defects} defects" if source.defects else ""
    digest = f", images sha256:{source.images_sha256[:16]}" if source.images_sha256 else ""
    return (
        f"{source.created} by edge-ad {source.edge_ad}, from bundle {source.bundle} (exported as {source.exported}): "
        f"{source.data}, {source.goods} good images{defects}{digest}, scored by {source.engine} {source.precision}"
    )
