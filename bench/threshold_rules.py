"""Which threshold rule misses least at the same real rate of false rejects, on labelled categories.

    python -m bench.threshold_rules ../shared/data/bottle ../shared/data/magnetic_tile --scores scores.json
    python -m bench.threshold_rules --scores scores.json      # the tables again, from these scores

It exports each category once for each seed, which draws both the folds and the coreset. Each rule chooses its threshold
from the held-out scores of the bundle, and judges the test images. Three tables, with means over seeds:

- all held-out scores;
- random halves of them, as fewer good images would give;
- all, but one of them replaced by the score of a defect: a good image with the wrong label.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from edge_ad import Runtime
from edge_ad.calibration.rules import choose_threshold
from edge_ad.data.layouts import load_category
from edge_ad.system.tables import aligned
from export.options import Options
from export.pipeline import export_bundle

HALVES = 50  # draws
ODD = (0.3, 0.5, 0.7, 0.9)  # quantiles of the defects' scores that a good image is given
Array = NDArray[np.float64]
Rule = Callable[[Array], float]


class Scores(TypedDict):
    """Scores of one category by one seed."""

    name: str
    seed: int
    held_out: list[float]
    good: list[float]
    defects: list[float]


def of_product(rule: str, value: float) -> Rule:
    return lambda good: choose_threshold(rule, value, good, resamples=1)[0]


def median_and_mad(k: float) -> Rule:
    return lambda good: float(np.median(good) + k * 1.4826 * np.median(np.abs(good - np.median(good))))


RULES: dict[str, Rule] = {
    **{f"percentile {v:g}": of_product("percentile", v) for v in (99.5, 99, 95)},
    **{f"sigma {v:g}": of_product("sigma", v) for v in (3, 2.5, 2)},
    **{f"tail {v:g}": of_product("tail", v) for v in (0.001, 0.002, 0.005, 0.01, 0.02)},
    **{f"median + {k:g} MAD": median_and_mad(k) for k in (5, 4, 3)},
}


def measure(category: Path, seed: int, options: dict[str, object]) -> Scores:
    """Exports the category, and scores its test images."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "measured.bundle"
        export_bundle(Options(str(category), out=out, seed=seed, **options))
        runtime = Runtime(out)
        found: dict[bool, list[float]] = {False: [], True: []}
        for image in load_category(category).test:
            found[image.defect is not None].append(runtime.inspect(image.path).score)
        held_out = list(runtime.manifest.calibration.good_scores)
    return {"name": category.name, "seed": seed, "held_out": held_out, "good": found[False], "defects": found[True]}


def samples(scores: Scores, table: str) -> Iterator[Array]:
    """The held-out scores that a rule is given."""
    held_out, rng = np.array(scores["held_out"]), np.random.default_rng(scores["seed"])
    if table == "halves":
        for _ in range(HALVES):
            yield rng.permutation(held_out)[: max(2, len(held_out) // 2)]
    elif table == "one odd image":
        for quantile in ODD:
            yield np.append(held_out[1:], np.quantile(scores["defects"], quantile))
    else:
        yield held_out


def judge(rule: Rule, scores: Scores, table: str) -> tuple[float, float]:
    """(misses, good parts rejected), mean over the samples."""
    defects, good, found = np.array(scores["defects"]), np.array(scores["good"]), []
    for sample in samples(scores, table):
        threshold = rule(sample)
        found.append((float((defects < threshold).sum()), float((good >= threshold).sum())))
    misses, rejected = np.mean(found, axis=0)
    return float(misses), float(rejected)


def rows(measured: list[Scores], table: str) -> Iterator[tuple[str, ...]]:
    names = list(dict.fromkeys(scores["name"] for scores in measured))
    one = {scores["name"]: scores for scores in measured}
    yield (table, *(f"{n} {len(one[n]['defects'])}/{len(one[n]['good'])}" for n in names), "all")
    for label, rule in RULES.items():
        each = {
            name: np.mean([judge(rule, scores, table) for scores in measured if scores["name"] == name], axis=0)
            for name in names
        }
        total = np.sum(list(each.values()), axis=0)
        yield (label, *("{:.1f}/{:.1f}".format(*found) for found in (*each.values(), total)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("categories", type=Path, nargs="*")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--coreset", type=float, default=0.02)
    parser.add_argument("--input-size", type=int, nargs=2, metavar=("H", "W"))
    parser.add_argument("--scores", type=Path, help="JSON file: written if categories are given, else read")
    options = parser.parse_args()
    if options.categories:
        more: dict[str, object] = {"coreset": options.coreset}
        if options.input_size:
            more["input_size"] = tuple(options.input_size)
        measured = [measure(path, seed, more) for path in options.categories for seed in options.seeds]
        if options.scores:
            options.scores.write_text(json.dumps(measured), encoding="utf-8")
    elif options.scores:
        measured = json.loads(options.scores.read_text(encoding="utf-8"))
    else:
        parser.error("give categories, or --scores of an earlier run")
    print("misses/good parts rejected; heads: number of defects/of good test parts")
    for table in ("all held-out images", "halves", "one odd image"):
        print(aligned(list(rows(measured, table))), end="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
