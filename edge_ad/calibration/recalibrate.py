"""Calibrates a bundle again: finds the images, scores them, and writes a copy of the bundle with new thresholds.

    find_images -> check_images -> score_images -> calibrate (edge_ad/calibration/rules.py) -> write_calibrated

Scores are those of `Runtime.inspect`; peaks are taken as the export takes them (`map_peak`). Both use exact search. The
method must not have been fitted to the good images: such images score too low, and so the threshold would be too low.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

import numpy as np

from edge_ad import __version__
from edge_ad.bundle.file import Bundle, write_bundle
from edge_ad.calibration.promise import describe_odd
from edge_ad.calibration.tail import odd_images
from edge_ad.data.labelled import load_labelled
from edge_ad.data.layouts import expand_home, find_category, look_at_images, subfolders
from edge_ad.errors import BundleError, DatasetError, FrameError
from edge_ad.frames.capture import pictures_in
from edge_ad.frames.listing import list_images
from edge_ad.runtime import Runtime
from edge_ad.spec import REFERENCE, CalibrationSourceSpec, CalibrationSpec, Manifest
from edge_ad.system.names import listed, printable
from edge_ad.system.progress import Counts
from edge_ad.system.versions import timestamp

__all__ = [
    "ImageScores",
    "Images",
    "check_images",
    "find_images",
    "kept_scores",
    "score_images",
    "source_of",
    "write_calibrated",
]

_GOOD = ("good", "ok")
_DEFECT = ("bad", "ko", "defect")
_TRAINING = "training images"
_LISTED = 5  # names in a message

T = TypeVar("T")


@dataclass(frozen=True)
class Images:
    """The images that thresholds are chosen from.

    Attributes:
        data: name and layout of the folder, for a reader.
        folder: the whole path of the folder, or of the CSV file.
        kind: ``test images``, ``given good images``, or ``training images``.
        goods, defects: image files.
        notes: what a reader should know about them.
    """

    data: str
    folder: Path
    kind: str
    goods: tuple[Path, ...]
    defects: tuple[Path, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        defects = f", {len(self.defects)} defects" if self.defects else ""
        return f"{self.data}, {self.kind}: {len(self.goods)} good images{defects}"


@dataclass(frozen=True)
class ImageScores:
    """The scores of the images.

    Attributes:
        data, kind: as in `Images`.
        goods, defects: image scores.
        peaks: peaks of the good images' maps; empty if the method gives no map.
        good_digests, defect_digests: SHA-256 of each image file; empty for scores from the bundle.
        engine, precision: what computed the scores.
        good_files: the good images' files; empty for scores from the bundle, which keeps no names.
        left_out: number of odd good images that are not among the scores any more.
    """

    data: str
    kind: str
    goods: tuple[float, ...]
    peaks: tuple[float, ...]
    defects: tuple[float, ...]
    good_digests: tuple[str, ...]
    defect_digests: tuple[str, ...]
    engine: str
    precision: str
    good_files: tuple[Path, ...] = ()
    left_out: int = 0

    def describe_odd(self) -> str | None:
        """In words: good images that score far above the others (`edge_ad.calibration.tail`); None if there are none"""
        odd = odd_images(np.array(self.goods))
        if not len(odd):
            return None
        scores = [self.goods[at] for at in odd]
        files = [self.good_files[at] for at in odd] if self.good_files else None
        return describe_odd(scores if files is None else dict(zip(files, scores, strict=True)), len(self.goods))

    def without_odd(self) -> ImageScores:
        """The scores without those of odd good images."""
        odd = set(odd_images(np.array(self.goods)).tolist())

        def kept(values: tuple[T, ...]) -> tuple[T, ...]:
            return tuple(value for at, value in enumerate(values) if at not in odd)

        return dataclasses.replace(
            self,
            goods=kept(self.goods),
            peaks=kept(self.peaks),
            good_digests=kept(self.good_digests),
            good_files=kept(self.good_files),
            left_out=self.left_out + len(odd),
        )


# ---------------------------------------------------------------------------------------------------- images


def find_images(given: str, allow_training: bool = False) -> Images:
    """The images to calibrate with: the test images of a category, or a flat folder of good images.

    Args:
        given: a folder, a name as `find_category` takes it, or a CSV file of path,label.
        allow_training: accept images under ``train`` if there are no other good images, or if they are given directly.

    Raises:
        DatasetError: there is nothing, it is a folder of defects, there are fewer than 2 good images, or the method may
            have been fitted to them.
    """
    path = expand_home(given)
    folder = path if path.is_file() and path.suffix.lower() == ".csv" else find_category(given)
    folder = Path(os.path.abspath(folder))
    flat = _flat_folder(folder)
    if flat is not None:
        images = Images(printable(_name_of(folder)), folder, "given good images", tuple(flat), ())
    else:
        found = load_labelled(str(folder))
        good = tuple(image.path for image in found.images if image.defect is None)
        defects = tuple(image.path for image in found.images if image.defect is not None)
        images = Images(printable(f"{found.name} ({found.layout})"), folder, "test images", good, defects, found.notes)
    training = tuple(filter(_is_training, images.goods)) if images.goods else _training_good(folder)
    if training and not allow_training:
        _refuse_training(folder, len(training))
    if training:
        images = dataclasses.replace(images, kind=_TRAINING, goods=images.goods or training)
    _require_good(len(images.goods), images.data)
    return images


def _flat_folder(folder: Path) -> list[Path] | None:
    """The images of a flat folder; None if the folder has another layout.

    Raises:
        DatasetError: an empty folder, or one of defects.
    """
    if not folder.is_dir():
        return None
    folders = subfolders(folder)
    if any(child.name.lower() in ("train", "test", *_GOOD, *_DEFECT) for child in folders):
        return None
    try:
        images = list_images(folder)
    except OSError as error:
        got = error.strerror or error
        raise DatasetError(f"{folder} cannot be read", expected="a readable folder", got=got) from error
    if not images and not folders:
        raise DatasetError(
            f"there are no images in {folder}",
            expected="a category with test images, or a folder of images of good parts",
            got="no PNG, JPEG, BMP, TIFF or WebP file",
        )
    name, above = folder.name.lower(), folder.parent.name.lower()
    if images and (name in _DEFECT or above == "ground_truth" or (above == "test" and name not in _GOOD)):
        raise DatasetError(
            f"{folder} holds defects, according to its name",
            expected="images of good parts, or a category with both",
            got=f"{len(images)} images in {above}/{name}",
            remedy=f"Give the category: {folder.parent.parent if above in ('test', 'ground_truth') else folder.parent}",
        )
    return images or None


def _name_of(folder: Path) -> str:
    """A short name: "test/good" or "line-2-may". It shows no path of the machine, and is never just "good"."""
    if folder.name.lower() in _GOOD and folder.parent.name.lower() in ("train", "test"):
        return f"{folder.parent.parent.name}/{folder.parent.name}/{folder.name}"
    return folder.name or "images"


def _is_training(path: Path) -> bool:
    """Whether an image lies in ``train``, or in its folder of good images."""
    above = path.absolute().parent
    return above.name.lower() == "train" or (above.name.lower() in _GOOD and above.parent.name.lower() == "train")


def _training_good(folder: Path) -> tuple[Path, ...]:
    folders = [folder / "train" / name for name in _GOOD] if folder.is_dir() else []
    return next((tuple(list_images(f)) for f in folders if f.is_dir()), ())


def _refuse_training(folder: Path, count: int) -> NoReturn:
    raise DatasetError(
        f"the good images in {folder} are training images",
        expected="good images that the method was not fitted to, as they score higher: test/good, or new images",
        got=f"{count} images under train",
        remedy="Photograph more good parts; or leave --data out, to choose from the held-out scores in the bundle; "
        "or give --training-images if this bundle was made from other images.",
    )


def _require_good(count: int, where: str) -> None:
    if count < 2:
        raise DatasetError(
            f"there are too few good images in {where}",
            expected="2 or more that differ",
            got=count,
            remedy="Give 20 or more; a false reject rate of 1% cannot be told from fewer than 100.",
        )


def check_images(images: Images, skip_bad: bool = False, progress: Counts | None = None) -> Images:
    """Reads every image once, and leaves out copies of other images, which would count twice.

    Args:
        images: as `find_images` gives them.
        skip_bad: leave unreadable images out, and add a note.
        progress: counts images.

    Raises:
        DatasetError: an image cannot be read, is labelled both good and defect, or too few good images are left.
    """
    seen, bad = look_at_images([*images.goods, *images.defects], skip_bad, progress)
    notes = [*images.notes]
    if bad:
        notes.append(f"{len(bad)} unreadable images are left out: {_names([path for path, _ in bad])}")
    kept: list[dict[bytes, Path]] = []
    for paths in (images.goods, images.defects):
        first: dict[bytes, Path] = {}
        readable = [path for path in paths if path in seen]
        for path in readable:
            first.setdefault(seen[path].digest, path)
        if copies := len(readable) - len(first):
            what = "good images" if paths is images.goods else "defects"
            notes.append(f"{copies} of {len(readable)} {what} are copies")
        kept.append(first)
    good, defects = kept
    if both := good.keys() & defects.keys():
        raise DatasetError(
            "images are labelled both good and defect",
            expected="one label for each",
            got=_names([path for digest, path in good.items() if digest in both]),
            remedy="Remove the wrong ones.",
        )
    _require_good(len(good), images.data)
    return dataclasses.replace(images, goods=tuple(good.values()), defects=tuple(defects.values()), notes=tuple(notes))


def _names(paths: Sequence[Path]) -> str:
    return listed([path.name for path in paths], _LISTED)


# ---------------------------------------------------------------------------------------------------- scores


def score_images(bundle: Bundle, runtime: Runtime, images: Images, progress: Counts | None = None) -> ImageScores:
    """The scores that `runtime.inspect` gives at its operating point, and the peaks of the good images' maps.

    Raises:
        DatasetError: the bundle does not accept an image, such as one of 16 bits in a bundle for 8.
        EngineError: NaN or Inf.
        BundleError: `runtime` runs another bundle.
    """
    if runtime.bundle_id != bundle.id:
        raise BundleError(f"{bundle.path} was replaced while it was in use", expected=bundle.id, got=runtime.bundle_id)
    good = [*_scored(runtime, images.goods, progress)]
    defects = [*_scored(runtime, images.defects, progress)]
    return ImageScores(
        data=images.data,
        kind=images.kind,
        goods=tuple(score for score, _, _ in good),
        peaks=tuple(peak for _, peak, _ in good if peak is not None),
        defects=tuple(score for score, _, _ in defects),
        good_digests=tuple(digest for _, _, digest in good),
        defect_digests=tuple(digest for _, _, digest in defects),
        engine=f"{runtime.engine} {runtime.engine_version}",
        precision=runtime.precision,
        good_files=images.goods,
    )


def _scored(
    runtime: Runtime, paths: Sequence[Path], progress: Counts | None
) -> Iterator[tuple[float, float | None, str]]:
    """(score, peak of the map or None, SHA-256 of the file) of each image."""
    found = runtime.scores_and_peaks(paths)
    for path in paths:
        try:
            score, peak = next(found)
        except FrameError as error:
            what = f"{path} cannot be inspected: {error.what}"
            raise DatasetError(what, expected=error.expected, got=error.got, remedy=error.remedy) from error
        yield score, peak, _digest(path)
        if progress is not None:
            progress.update(1)


def _digest(path: Path) -> str:
    """SHA-256 of an image file; of a stack, of its files one after the other."""
    digest = hashlib.sha256()
    for file in pictures_in(path) if path.is_dir() else [path]:
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()


def kept_scores(manifest: Manifest) -> ImageScores:
    """The scores in a bundle, from which its thresholds were chosen. The manifest is that of one operating point."""
    own = manifest.calibration
    source = own.source
    if source is None:
        data = "scores kept in the bundle"
    else:  # add "kept scores of" once only
        data = f"kept scores of {source.data}" if source.images_sha256 else source.data
    return ImageScores(
        data=data,
        kind=own.split,
        goods=own.good_scores,
        peaks=own.good_peaks,
        defects=own.defect_scores,
        good_digests=(),
        defect_digests=(),
        engine=manifest.producer.get("engine", "unknown") if source is None else source.engine,
        precision=manifest.backbone.precision if source is None else source.precision,
        left_out=own.left_out,
    )


# ---------------------------------------------------------------------------------------------------- bundle


def source_of(bundle: Bundle, scores: ImageScores, with_defects: bool) -> CalibrationSourceSpec:
    """The origin of thresholds that are chosen from `scores`, with or without their defects.

    If points were calibrated separately, the first of them names the bundle that the export wrote.
    """
    manifest = bundle.manifest
    known = (manifest.calibration.source, *(point.calibration.source for point in manifest.points))
    exported = next((source.exported for source in known if source is not None), bundle.id)
    lines = [f"{digest} good\n" for digest in scores.good_digests]
    lines += [f"{digest} defect\n" for digest in scores.defect_digests if with_defects]
    digest = hashlib.sha256("".join(sorted(lines)).encode()).hexdigest() if lines else None
    return CalibrationSourceSpec(
        bundle=bundle.id,
        exported=exported,
        data=scores.data,
        goods=len(scores.goods),
        defects=len(scores.defects) if with_defects else 0,
        images_sha256=digest,
        engine=scores.engine,
        precision=scores.precision,
        edge_ad=__version__,
        created=timestamp(),
    )


def write_calibrated(bundle: Bundle, out: Path, calibrations: Mapping[str, CalibrationSpec]) -> str:
    """Writes a copy of the bundle with new calibrations. All members and the rest of the manifest stay the same.

    Args:
        bundle: opened with all its members.
        out: the target; an existing file is replaced. The copy is written completely or not at all.
        calibrations: operating point -> its calibration.

    Returns:
        The id of the copy.

    Raises:
        BundleError: the copy cannot be written.
    """
    manifest = bundle.manifest
    points = (dataclasses.replace(p, calibration=calibrations.get(p.name, p.calibration)) for p in manifest.points)
    reference = calibrations.get(REFERENCE, manifest.calibration)
    manifest = dataclasses.replace(manifest, calibration=reference, points=tuple(points))
    return write_bundle(out, manifest, bundle.payloads())
