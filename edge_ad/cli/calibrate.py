"""`edge-ad calibrate BUNDLE --data CATEGORY`: copies a bundle and chooses its thresholds again, from images."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np

from edge_ad.bundle.file import Bundle
from edge_ad.calibration.promise import promise
from edge_ad.calibration.recalibrate import (
    ImageScores,
    check_images,
    find_images,
    kept_scores,
    score_images,
    source_of,
    write_calibrated,
)
from edge_ad.calibration.rules import (
    LABELLED,
    PLAIN,
    RATE_HELP,
    RULES,
    calibrate,
    describe_rule,
    rule_of,
    usual_values,
)
from edge_ad.cli import OK, RUNTIME_OPTIONS, add_runtime_options, given_path
from edge_ad.errors import BundleError, DatasetError, EngineUnavailableError, SpecError
from edge_ad.frames.listing import files_of
from edge_ad.metrics import image_metrics, wilson
from edge_ad.runtime import Runtime
from edge_ad.spec import CalibrationSpec, Manifest
from edge_ad.system.files import check_new, check_outputs, is_stdout
from edge_ad.system.names import printable
from edge_ad.system.progress import Progress
from edge_ad.system.tables import named
from edge_ad.system.versions import timestamp

HELP = "Chooses the thresholds of a bundle again, from images, and writes them to a copy that names their origin."

_FAR = 3.0  # standard errors: a larger shift of the scores is worth a note


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    # not --search: scores and peaks come from exact search, as at export
    add_runtime_options(parser, points=False)
    parser.add_argument("--point", help="only this operating point; by default all, each from its own scores")
    parser.add_argument(
        "--data",
        metavar="CATEGORY",
        help="folder with test images (MVTec AD, BTAD, or good and bad), CSV file of path,label, or a folder of good "
        "images that the method was not fitted to; by default the scores in the bundle are used",
    )
    parser.add_argument(
        "--out", type=given_path, metavar="NEW.bundle", help="default: NAME.calibrated.bundle beside BUNDLE"
    )
    parser.add_argument("--force", action="store_true", help="replace --out if it exists; never BUNDLE itself")
    parser.add_argument(
        "--threshold-rule",
        dest="rule",
        choices=tuple(RULES),
        help="how the threshold is chosen; default: BUNDLE's rule",
    )
    parser.add_argument(
        "--threshold-value",
        dest="value",
        type=float,
        metavar="X",
        help=f"parameter of the rule; default: BUNDLE's for its own rule, else {usual_values()}",
    )
    parser.add_argument("--false-reject", type=float, metavar="RATE", help=RATE_HELP)
    parser.add_argument(
        "--drop-outliers",
        action="store_true",
        help="choose the thresholds without the odd good images, which score far above the others; they are named in "
        "any case",
    )
    parser.add_argument("--skip-bad", action="store_true", help="leave unreadable images out instead of stopping")
    parser.add_argument(
        "--training-images",
        action="store_true",
        help="also accept images under train/ as good images; wrong if BUNDLE was made from them",
    )


def run(options: argparse.Namespace) -> int:
    """Calibrates; returns the exit code. The target is written in the last step only."""
    asked = (options.data, options.rule, options.value, options.false_reject)
    if all(given is None for given in asked) and not options.drop_outliers:
        raise SpecError(
            "there is nothing to choose a threshold from",
            expected="--data; or --threshold-rule, --threshold-value, --false-reject or --drop-outliers for the scores "
            "in the bundle",
            got="neither",
        )
    with Bundle.open(options.bundle) as bundle:
        manifest = bundle.manifest
        names = manifest.point_names if options.point is None else (options.point,)
        rules = {name: _rule(options, manifest.at(name)) for name in names}
        out = options.out or _default_target(bundle.path)
        _check_target(out, bundle.path, options.force)
        timestamp()  # refuses a bad SOURCE_DATE_EPOCH before the work
        stream = sys.stderr if is_stdout(out) else sys.stdout  # a bundle on stdout must not be mixed with text
        scores, notes = _scores(options, bundle, rules, out, stream)
        found = {}
        for name in rules:
            own = scores[name].without_odd() if options.drop_outliers else scores[name]
            rule, value = _rule(options, manifest.at(name), len(own.goods))
            source = source_of(bundle, own, with_defects=rule in LABELLED)
            found[name] = calibrate(rule, value, own.goods, own.peaks, own.defects, own.kind, source, own.left_out)
        _check_target(out, bundle.path, options.force)  # again, as scoring may have taken an hour
        identity = write_calibrated(bundle, out, found)
        for name, new in found.items():
            old = manifest.at(name).calibration
            facts = {"point": name, **_describe(old, new, scores[name])}
            print(named(facts.items()), file=stream)
            odd = _odd(scores[name], options.drop_outliers)
            for note in (*odd, *_notes(old, new, scores[name], options.data is not None)):
                print(f"note: {printable(note)}", file=stream)
        for note in (*notes, *_left(manifest.point_names, names)):
            print(f"note: {printable(note)}", file=stream)
        print(f"bundle: {printable(out)} ({identity}, from {bundle.id})", file=stream)
    return OK


def _left(points: Sequence[str], done: Sequence[str]) -> list[str]:
    left = [name for name in points if name not in done]
    return [f"the thresholds of {', '.join(left)} are the old ones"] if left else []


def _odd(scores: ImageScores, dropped: bool) -> list[str]:
    """A note that names the odd good images, if there are some."""
    odd = scores.describe_odd()
    if odd is None:
        return []
    if dropped:
        return [f"left out: {odd}; the method still knows those that it was fitted to: export with --drop-outliers"]
    return [f"odd: {odd}: are they good? --drop-outliers leaves them out"]


def _rule(options: argparse.Namespace, manifest: Manifest, n: int | None = None) -> tuple[str, float]:
    """Rule and value: the bundle's own where nothing else is asked for. n: number of good images, if it is known."""
    own, rule, value = manifest.calibration, options.rule, options.value
    if options.false_reject is None:
        rule = rule or own.rule
        value = own.value if value is None and rule == own.rule else value
    return rule_of(rule, value, options.false_reject, manifest.head.method, n)


def _default_target(bundle: Path) -> Path:
    return bundle.with_name(f"{bundle.name.removesuffix('.bundle')}.calibrated.bundle")


def _check_target(out: Path, bundle: Path, force: bool) -> None:
    """Refuses a target before anything is scored: its folder is missing, it is the bundle itself, or it exists.

    Raises:
        EdgeADError: the target is refused.
    """
    if os.path.exists(out) and os.path.samefile(out, bundle):
        raise BundleError(
            "--out is the bundle that is calibrated",
            expected="another file, as the new bundle names the old one as its origin",
            got=out,
            remedy="Write beside it, look at it with `edge-ad info`, and put it into service with mv.",
        )
    check_new("--out", out, force)


def _scores(
    options: argparse.Namespace, bundle: Bundle, rules: Mapping[str, tuple[str, float]], out: Path, stream: TextIO
) -> tuple[dict[str, ImageScores], tuple[str, ...]]:
    """Point -> scores of the given images, or those in the bundle; and notes on the images."""
    if options.data is None:
        return {name: kept_scores(bundle.manifest.at(name)) for name in rules}, ()
    images = find_images(options.data, options.training_images)
    table = [("the table of images", Path(options.data))] if Path(options.data).is_file() else []
    files = [file for path in (*images.goods, *images.defects) for file in files_of(path)]
    check_outputs([("--out", out)], [*table, *(("an image", path) for path in files)])
    print(f"images: {printable(images.folder)}", file=stream, flush=True)
    labelled = [rule for rule, _ in rules.values() if rule in LABELLED]
    if labelled and not images.defects:
        raise DatasetError(
            f"the threshold rule {labelled[0]} needs labelled defects",
            expected="test images with defects",
            got=f"none in {images.data}",
            remedy="Use percentile, sigma or tail, which need good images only.",
        )
    with Progress("reading", len(images.goods) + len(images.defects), unit="images") as progress:
        images = check_images(images, options.skip_bad, progress)
    found = {}
    for name, runtime in [(name, _open(options, bundle, name)) for name in rules]:  # all, before the work begins
        with Progress(f"scoring {name}", len(images.goods) + len(images.defects), unit="images") as progress:
            found[name] = score_images(bundle, runtime, images, progress)
    return found, images.notes


def _open(options: argparse.Namespace, bundle: Bundle, point: str) -> Runtime:
    given = {name: getattr(options, name) for name in RUNTIME_OPTIONS if name not in ("point", "search")}
    try:
        return Runtime(bundle.path, point=point, search="exact", self_check=True, **given)
    except EngineUnavailableError as error:
        if options.point is not None or not bundle.manifest.points:
            raise
        raise EngineUnavailableError(
            f"the operating point {point} does not run here: {error.what}",
            expected=error.expected,
            got=error.got,
            remedy="Calibrate on a PC that runs all of them, or calibrate one point after another with --point.",
        ) from error


def _describe(old: CalibrationSpec, new: CalibrationSpec, scores: ImageScores) -> dict[str, str]:
    """The old and the new values, one line for each."""
    among = f"{len(scores.goods)} good images" + (f", {len(scores.defects)} defects" if scores.defects else "")
    rows = {
        "scores": f"{scores.data}, {scores.kind}: {among}, by {scores.engine} {scores.precision}",
        "rule": f"{describe_rule(old.rule, old.value)} -> {describe_rule(new.rule, new.value)}",
        "threshold": f"{_with_interval(old)} -> {_with_interval(new)}",
    }
    if old.pixel_threshold is not None and new.pixel_threshold is not None:
        rows["of pixels"] = f"{old.pixel_threshold:.4g} -> {new.pixel_threshold:.4g}"
    values, labels = [*scores.goods, *scores.defects], [0] * len(scores.goods) + [1] * len(scores.defects)
    before, after = (image_metrics(values, labels, spec.threshold).confusion for spec in (old, new))
    rows["promise"] = promise(new.rule, new.value, new.threshold, new.good_scores)
    of = len(scores.goods)
    rows["rejected"] = f"{_rate(before.fp, of)} -> {_rate(after.fp, of)} of these good images"
    if scores.defects:
        count = len(scores.defects)
        rows["missed"] = f"{_rate(before.fn, count)} -> {_rate(after.fn, count)} of these defects"
    return rows


def _with_interval(spec: CalibrationSpec) -> str:
    return f"{spec.threshold:.4g} (95% {spec.interval[0]:.4g}..{spec.interval[1]:.4g})"


def _rate(count: int, of: int) -> str:
    rate = wilson(count, of)
    assert rate is not None  # there are good images, and this line is shown for defects only if there are some
    return f"{count}/{of} (95% {rate.low:.1%}..{rate.high:.1%})"


def _notes(old: CalibrationSpec, new: CalibrationSpec, scores: ImageScores, fresh: bool) -> list[str]:
    notes = []
    if fresh and (note := _drift(old.good_scores, scores.goods)) is not None:
        notes.append(note)
    if new.rule in LABELLED and new.pixel_threshold is not None:
        usual = describe_rule(PLAIN, RULES[PLAIN])
        notes.append(f"the pixel threshold is {usual} of the good images' peaks, as no pixel is labelled")
    if new.rule in LABELLED:
        notes.append("rejected and missed count the images that chose the threshold: new images may do worse")
    return notes


def _drift(before: tuple[float, ...], now: tuple[float, ...]) -> str | None:
    """A note if the good images score differently from those of the old threshold (Mann & Whitney 1947)."""
    n, m = len(before), len(now)
    if not n:
        return None
    ordered = np.sort(before)
    above = (np.searchsorted(ordered, now, "left") + np.searchsorted(ordered, now, "right")).sum() / 2
    z = (above - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
    if abs(z) <= _FAR:
        return None
    medians = f"median {np.median(now):.4g}, theirs {np.median(before):.4g}"
    if z < 0:
        return (
            f"these good images score lower than those of the old threshold ({medians}): if the method was fitted to "
            "them, the new threshold is too low"
        )
    return (
        f"these good images score higher than those of the old threshold ({medians}): if part, camera or light "
        "changed, export again"
    )
