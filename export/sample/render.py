"""`python -m export.sample cable DIR`: renders a sample category, to try the tool before there are images of one's own.

The pictures are drawn, not photographed, and come out the same, byte for byte, for the same seed and versions of
NumPy and OpenCV. They lie in the layout of MVTec AD, with masks; no claim of accuracy rests on them.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import os
import shlex
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import DatasetError, SpecError
from edge_ad.system.command_line import Parser, given_path
from edge_ad.system.entry import run_command
from edge_ad.system.files import new_folder, write_new
from edge_ad.system.names import printable
from edge_ad.system.progress import Progress
from export.sample.cable import SIDE, draw, draw_both, make_scene
from export.sample.canvas import develop, expose, photograph
from export.sample.defects import DEFECTS, add_defect, changed

__all__ = ["SAMPLES", "main", "render_sample"]

SAMPLES = ("cable",)
_RECORD = "sample.json"  # what was rendered, and the SHA-256 of each file
_VERSION = 1  # of the drawing: counts up when the pictures change
# Noise gets half as large at most, and packing and unpacking it would take a fifth of the time of a picture, each time.
_PLAIN = [cv2.IMWRITE_PNG_COMPRESSION, 0]
if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # since OpenCV 4.11
    _PLAIN += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]
_PACKED = [cv2.IMWRITE_PNG_COMPRESSION, 1]  # for masks


@dataclass(frozen=True)
class _Plan:
    """How many pictures there are, and how many pixels a side has."""

    train: int = 60
    good: int = 20
    defects: int = 40
    side: int = SIDE

    @property
    def total(self) -> int:
        return self.train + self.good + self.defects


@dataclass(frozen=True)
class _Task:
    """One picture: its place in the category, and what its generator is seeded with."""

    folder: str
    number: int
    kind: str | None
    stream: int


def render_sample(name: str, folder: str | os.PathLike[str], seed: int = 0, workers: int | None = None) -> Path:
    """Renders a sample as the category `folder`/`name`, with a progress bar on stderr.

    Nothing is overwritten: a category that is there already is taken as it is if it is this sample, whole and
    unaltered, and refused otherwise. It appears when it is complete, or not at all.

    Args:
        name: one of `SAMPLES`.
        folder: where to put the category; made if need be.
        seed: of the pictures, 0 or more.
        workers: threads; by default one for each core.

    Returns:
        The folder of the category.

    Raises:
        DatasetError: there is no such sample, other files are in the way, or the folder cannot be written.
        SpecError: the seed or the workers are out of range.
    """
    return _render(name, Path(folder), seed, workers, _Plan())[0]


def _render(name: str, folder: Path, seed: int, workers: int | None, plan: _Plan) -> tuple[Path, bool]:
    """The folder of the category, and whether it was rendered now."""
    _check(name, seed, workers)
    target = folder / name
    about = {"sample": name, "version": _VERSION, "seed": seed, **asdict(plan)}
    try:
        if _is_complete(target, about):
            return target, False
        with new_folder(target) as staging:
            digests = _render_all(name, staging, seed, workers or _cores(), plan)
            record = json.dumps({**about, "sha256": dict(sorted(digests.items()))}, indent=1)
            write_new(staging / _RECORD, f"{record}\n".encode())
    except OSError as error:
        raise DatasetError(
            f"the sample cannot be written to {target}",
            expected="a folder that can be written, with 110 MB to spare",
            got=error.strerror or error,
            remedy="Give another folder.",
        ) from error
    return target, True


def _check(name: str, seed: int, workers: int | None) -> None:
    if name not in SAMPLES:
        near = difflib.get_close_matches(name.lower(), SAMPLES, n=1, cutoff=0.5)
        raise DatasetError(
            f"there is no sample {name!r}",
            expected=", ".join(SAMPLES),
            got=repr(name),
            remedy=f"Did you mean {near[0]}?" if near else None,
        )
    if seed < 0:
        raise SpecError("the seed is out of its range", expected="0 or more", got=seed)
    if workers is not None and workers < 1:
        raise SpecError("the number of workers is out of its range", expected="1 or more", got=workers)


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _is_complete(target: Path, about: dict[str, object]) -> bool:
    """Whether `target` holds this very sample; False where nothing is in the way.

    Raises:
        DatasetError: something else is there.
    """
    if not os.path.lexists(target) or (target.is_dir() and not any(target.iterdir())):
        return False
    got = "a file" if not target.is_dir() else _difference(target, about)
    if got is None:
        return True
    raise DatasetError(
        f"{target} is in the way, and nothing is overwritten",
        expected="nothing there, or this sample as it was rendered",
        got=got,
        remedy="Give another folder, or move that one away.",
    )


def _difference(target: Path, about: dict[str, object]) -> str | None:
    """What tells a folder from the sample; None if nothing does."""
    try:
        record = json.loads((target / _RECORD).read_text(encoding="utf-8"))
        digests = dict(record.pop("sha256"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "files that are no sample"
    for key, value in about.items():
        if record.get(key) != value:
            return f"the sample with {key} {record.get(key)!r} and not {value!r}"
    there = {path.relative_to(target).as_posix() for path in target.rglob("*") if not path.is_dir()} - {_RECORD}
    if missing := sorted(set(digests) - there):
        return f"the sample without {missing[0]}"
    if added := sorted(there - set(digests)):
        return f"the sample and {added[0]}, which is no part of it"
    for name, digest in digests.items():
        if hashlib.sha256((target / name).read_bytes()).hexdigest() != digest:
            return f"the sample with {name} altered"
    return None


def _render_all(name: str, root: Path, seed: int, workers: int, plan: _Plan) -> dict[str, str]:
    """Renders every picture of a plan; returns the SHA-256 of each file by its place."""
    tasks = list(_tasks(plan))
    for folder in sorted({task.folder for task in tasks}):
        (root / folder).mkdir(parents=True)
    for kind in sorted({task.kind for task in tasks if task.kind}):
        (root / "ground_truth" / kind).mkdir(parents=True)
    digests: dict[str, str] = {}
    pool = ThreadPoolExecutor(workers, thread_name_prefix="render")  # NumPy and OpenCV free the GIL
    try:
        with Progress(f"rendering {name}", len(tasks)) as progress:
            for done in as_completed([pool.submit(_write, root, task, seed, plan.side) for task in tasks]):
                digests.update(done.result())
                progress.update()
    finally:
        pool.shutdown(cancel_futures=True)
    return digests


def _tasks(plan: _Plan) -> Iterator[_Task]:
    for number in range(plan.train):
        yield _Task("train/good", number, None, 0)
    for number in range(plan.good):
        yield _Task("test/good", number, None, 1)
    for number in range(plan.defects):
        which, kinds = number % len(DEFECTS), list(DEFECTS)
        yield _Task(f"test/{kinds[which]}", number // len(DEFECTS), kinds[which], 2 + which)


def _write(root: Path, task: _Task, seed: int, side: int) -> dict[str, str]:
    """Writes a picture, and the mask if it has a defect; returns the SHA-256 of each by its place."""
    picture, mask = _picture(task, seed, side)
    images: list[tuple[str, NDArray[np.uint8], list[int]]] = [(f"{task.folder}/{task.number:03}.png", picture, _PLAIN)]
    if mask is not None:
        images.append((f"ground_truth/{task.kind}/{task.number:03}_mask.png", mask, _PACKED))
    digests = {}
    for place, image, how in images:
        _, encoded = cv2.imencode(".png", image, how)
        data = encoded.tobytes()
        write_new(root / place, data)
        digests[place] = hashlib.sha256(data).hexdigest()
    return digests


def _picture(task: _Task, seed: int, side: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """A picture, (side, side, 3) u8 BGR, and the mask of its defect, (side, side) u8, if it has one."""
    generator = np.random.default_rng([seed, task.stream, task.number])
    scene = make_scene(generator)
    if task.kind is None:
        return photograph(draw(scene, side=side), scene.camera, scene.light, side), None
    defective, overlay = add_defect(task.kind, scene, generator)
    lights = draw_both(scene, defective, overlay, side)
    clean, seen = (expose(light, scene.camera, scene.light, side) for light in lights)
    return develop(seen, scene.camera), changed(develop(clean, None), develop(seen, None))


def main(arguments: Sequence[str] | None = None) -> int:
    """Renders a sample; returns the exit code, as `edge_ad.system.entry` has them."""
    return run_command(lambda: _run(_parser().parse_args(arguments)), "interrupted; nothing was written")


def _run(options: argparse.Namespace) -> int:
    began, plan = time.monotonic(), _Plan()
    target, is_new = _render(options.name, options.folder, options.seed, options.workers, plan)
    counts = f"{plan.train} good images to learn from, {plan.good} good and {plan.defects} defective to test"
    how = f"rendered in {time.monotonic() - began:.1f} s" if is_new else "there already, complete and unaltered"
    print(f"{printable(target)}: {counts}; {how}")
    print(f"next: python -m export {target.name} --data {printable(shlex.quote(str(target.parent)))}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m export.sample",
        description="Renders a sample category, to try the tool with: drawn images, in the layout of MVTec AD.",
    )
    add = parser.add_argument
    add("name", help=f"which sample: {', '.join(SAMPLES)}")
    add("folder", type=given_path, metavar="DIR", help="where to put it, as DIR/NAME; nothing there is overwritten")
    add("--seed", type=int, default=0, help="other pictures of the same kind (default: 0)")
    add("--workers", type=int, help="threads to use (default: one for each core)")
    return parser
