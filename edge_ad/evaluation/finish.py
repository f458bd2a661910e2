"""The work after an inspection, which is not timed: metrics, pictures and curves of the result in a folder.

It needs only that folder and the images, so several can run in parallel. `edge-ad eval` starts
`python -m edge_ad.evaluation.finish WORK` for each, with the work as JSON.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from edge_ad import __version__
from edge_ad.bundle.file import Bundle
from edge_ad.errors import EdgeADError
from edge_ad.evaluation import curves as curve
from edge_ad.evaluation import pictures as picture
from edge_ad.evaluation.metrics_row import metrics_row, roi_of
from edge_ad.evaluation.run import RESULT, Result, load_result, replace_text, save_result
from edge_ad.registry import METHODS
from edge_ad.serving.reconstruct import Reconstructor
from edge_ad.spec import FrameSpec
from edge_ad.spec.codec import decode
from edge_ad.system.entry import run_command
from edge_ad.system.files import write_output
from edge_ad.system.processes import THREAD_VARIABLES, Task, run_all, threads_of

Which = Literal["none", "worst", "all"]
_LOG = "finish.log"  # kept only after an error
_DRAWN = "drawn.json"  # what the pictures and curves in the folder were drawn from, and their names; written last


@dataclass(frozen=True)
class Work:
    """The work to do in a folder with a result.

    Attributes:
        bundle: the bundle that gave the result.
        notes: notes on the images, shown with those on the metrics.
        frame: what the bundle's frames are.
        pictures: which images are drawn.
    """

    folder: Path
    bundle: Path
    notes: tuple[str, ...]
    frame: FrameSpec
    pictures: Which
    style: picture.Style
    with_curves: bool

    def to_json(self) -> str:
        """As `from_json` reads it."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Work:
        """The work that `to_json` wrote down."""
        data = json.loads(text)
        style, notes = picture.Style(**data.pop("style")), tuple(data.pop("notes"))
        folder, bundle = Path(data.pop("folder")), Path(data.pop("bundle"))
        frame = decode(FrameSpec, data.pop("frame"), "frame")
        return cls(folder, bundle, notes, frame, style=style, **data)


def finish(work: Work) -> None:
    """Measures and draws what is missing.

    Raises:
        EdgeADError: there is no result, or a map or an image was removed.
    """
    result = load_result(work.folder)
    if result is None:
        raise EdgeADError(f"there is no result in {work.folder}", got="nothing", remedy="Run again.")
    if result.row is None:
        with Bundle.open(work.bundle) as bundle:
            follows = bundle.manifest.align is not None  # then the region lies elsewhere in each frame
            keep = (lambda size: None) if follows else roi_of(bundle.at(result.facts["point"]))
            has_roi = bundle.manifest.roi is not None and not follows
            row, notes = metrics_row(result, keep, has_roi, work.folder)
        result = replace(result, row=row, notes=(*work.notes, *notes))
        save_result(work.folder, result)
    _draw(work, result)


def finish_all(works: Sequence[Work], jobs: int, tick: Callable[[], object]) -> Iterator[tuple[Work, str | None]]:
    """Finishes folders, `jobs` at a time, and yields each with its error, if any. After an error the others go on.

    Args:
        tick: called a few times a second if several run at once.
    """
    if jobs == 1:
        for work in works:
            try:
                finish(work)
            except EdgeADError as error:
                yield work, str(error)
            else:
                yield work, None
        return
    threads = dict.fromkeys(THREAD_VARIABLES, str(threads_of(jobs)))
    command = [sys.executable, "-m", "edge_ad.evaluation.finish"]
    tasks = [Task([*command, work.to_json()], work.folder / _LOG, threads) for work in works]
    for ended in run_all(tasks, jobs, tick):
        if ended.error is None:
            (works[ended.number].folder / _LOG).unlink(missing_ok=True)
        yield works[ended.number], ended.error


def drawn_curves(folder: Path) -> dict[str, bytes]:
    """The curves in a folder: PNG by name."""
    paths = {name: folder / f"{name}.png" for name in curve.NAMES}
    return {name: path.read_bytes() for name, path in paths.items() if path.is_file()}


def _draw(work: Work, result: Result) -> None:
    folder = work.folder
    wanted = {
        "result": hashlib.blake2b((folder / RESULT).read_bytes(), digest_size=16).hexdigest(),
        **{name: value for name, value in json.loads(work.to_json()).items() if name not in ("bundle", "folder")},
        "edge_ad": __version__,
    }
    if _is_drawn(folder, wanted):
        return
    (folder / _DRAWN).unlink(missing_ok=True)
    worst = (*picture.worst_defects(result), *picture.worst_good(result))
    images = {"none": (), "worst": worst, "all": result.images}[work.pictures]
    level = result.facts["pixel_threshold"]
    reconstruct = _reconstructor(work, result) if images else None
    files = picture.write_pictures(images, folder, level, work.frame, work.style, reconstruct)
    for name in curve.NAMES:
        (folder / f"{name}.png").unlink(missing_ok=True)
    if work.with_curves:
        for name, data in curve.curves(result, result.row or {}).items():
            write_output(folder / f"{name}.png", [data])
            files.append(f"{name}.png")
    replace_text(folder / _DRAWN, json.dumps({**wanted, "files": files}, indent=1))


def _reconstructor(work: Work, result: Result) -> Reconstructor | None:
    """What reconstructs the images; None if the method does not."""
    with Bundle.open(work.bundle, points=()) as bundle:
        if not METHODS[bundle.manifest.head.method].reconstructs:
            return None
    return Reconstructor(work.bundle, point=result.facts["point"], engine=result.facts["engine"])


def _is_drawn(folder: Path, wanted: dict[str, object]) -> bool:
    try:
        drawn = json.loads((folder / _DRAWN).read_text(encoding="utf-8"))
        files = drawn.pop("files")
        return bool(drawn == wanted) and all((folder / name).is_file() for name in files)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return False


def main(arguments: Sequence[str] | None = None) -> int:
    """Finishes the folder that the only argument names; returns the exit code, as `edge_ad.system.entry` has them."""
    (text,) = sys.argv[1:] if arguments is None else arguments

    def work() -> int:
        finish(Work.from_json(text))
        return 0

    return run_command(work)


if __name__ == "__main__":
    sys.exit(main())
