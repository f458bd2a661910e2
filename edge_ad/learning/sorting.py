"""What each image that is given to a lesson is for: to be taught, or locked; and what is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_ad.data.given import check_frames, names_of
from edge_ad.data.layouts import look_at_images
from edge_ad.errors import LearningError
from edge_ad.learning.entries import chain_of
from edge_ad.learning.policy import held_back
from edge_ad.learning.report import DEFECT, HELD_BACK, LEFT_OUT, Picture
from edge_ad.learning.store import Store, sha256_of
from edge_ad.learning.task import KNOWN, Asked, Maker
from edge_ad.spec import FrameSpec
from edge_ad.system.names import storable
from edge_ad.system.progress import Progress

Digests = Mapping[Path, tuple[str, bytes]]  # of the file, and of its pixels
LOCKED = "it is locked, and is never taught"


@dataclass(frozen=True)
class Sorted:
    """The given images: what each is for."""

    offered: dict[str, Path]
    goods: dict[str, Path]
    defects: dict[str, Path]
    left_out: tuple[Picture, ...]


def look_at(asked: Asked, frame: FrameSpec) -> Digests:
    """File -> digest of the file, and of its pixels.

    Raises:
        DatasetError: one cannot be read, or is no frame of the bundle.
    """
    paths = list(dict.fromkeys((*asked.good, *asked.defects)))
    with Progress("reading", len(paths), unit="images") as progress:
        seen, _ = look_at_images(paths, progress=progress)
    check_frames(frame, seen)
    return {path: (sha256_of(path), look.digest) for path, look in seen.items()}


def sort_images(
    asked: Asked, store: Store, before: str, digests: Mapping[Path, tuple[str, bytes]], maker: Maker
) -> Sorted:
    """What each image is for. A copy of a locked picture, saved anew, is that picture.

    A good image in the lock that is given as a defect becomes one: a person has seen what it was, and it must not raise
    the threshold any longer. The other way is closed.

    Raises:
        LearningError: a locked or given defect is offered as good, or what was taught as good is given as a defect.
    """
    locked = {role: store.locked(role) for role in (HELD_BACK, DEFECT)}
    looks = {role: look_at_images([*own.values()])[0] for role, own in locked.items()}
    pixels = {role: {look.digest for look in own.values()} for role, own in looks.items()}
    defects = {digests[path][0]: path for path in asked.defects}
    shown_bad = {digests[path][1] for path in asked.defects}
    mistaken = {d: path for d, path in locked[HELD_BACK].items() if looks[HELD_BACK][path].digest in shown_bad}
    defects = mistaken | defects
    bad_pixels = {digests[path][1] for path in asked.defects} | pixels[DEFECT]
    both = [p for p in asked.good if digests[p][0] in {*defects, *locked[DEFECT]} or digests[p][1] in bad_pixels]
    _refuse_both(both, "is a locked defect, and can never be taught", "an image of a good part")
    chain = chain_of(store.entries, before)
    taught = {digest for lesson in chain for digest in lesson.taught}
    good_once = [p for p in asked.defects if digests[p][0] in taught]
    _refuse_both(
        good_once, "was taught as good", "a defect that was not", "Undo that lesson first: edge-ad log names it."
    )
    left: dict[str, Picture] = {}
    fresh: dict[str, Path] = {}
    shown: set[bytes] = set()
    for path in asked.good:
        digest, look = digests[path]
        if digest in locked[HELD_BACK] or look in pixels[HELD_BACK]:
            left.setdefault(digest, Picture(digest, storable(path.name), LEFT_OUT, LOCKED))
        elif digest in taught:
            left.setdefault(digest, Picture(digest, storable(path.name), LEFT_OUT, KNOWN))
        elif look not in shown:  # a copy of another one says nothing more
            shown.add(look)
            fresh[digest] = path
    for path, why in maker.unfit(asked.bundle, [*fresh.values()], asked.threads).items():
        digest = digests[path][0]
        left[digest] = Picture(digest, storable(path.name), LEFT_OUT, why)
        del fresh[digest]
    back = held_back([*fresh], locked=bool(locked[HELD_BACK]))
    new_defects = {digest: path for digest, path in defects.items() if digest not in locked[DEFECT]}
    offered = {digest: path for digest, path in fresh.items() if digest not in back}
    goods = {digest: path for digest, path in fresh.items() if digest in back}
    return Sorted(offered, goods, new_defects, tuple(left.values()))


def _refuse_both(paths: Sequence[Path], what: str, expected: str, remedy: str | None = None) -> None:
    if paths:
        many = "" if len(paths) == 1 else f", and {len(paths) - 1} more likewise"
        raise LearningError(f"{paths[0].name} {what}{many}", expected=expected, got=names_of(paths), remedy=remedy)
