"""All that a bundle says of itself, put together."""

from __future__ import annotations

import dataclasses
import math
import re
import typing
from dataclasses import dataclass
from typing import Annotated, Literal

from edge_ad.registry import ENGINES, METHODS
from edge_ad.spec.backbone import BackboneSpec
from edge_ad.spec.base import Digest, Matching, OneOf, Range, check_fields, is_box, require
from edge_ad.spec.calibration import CalibrationSpec
from edge_ad.spec.frame import FrameSpec, RoiSpec
from edge_ad.spec.methods import HeadSpec, IndexSpec
from edge_ad.spec.probes import ProbesSpec

MANIFEST_NAME = "manifest.json"
MAX_MEMBERS = 1_000

DType = Literal["uint8", "int32", "float32"]
DTYPES: tuple[str, ...] = typing.get_args(DType)

REFERENCE = "f32"  # name of the operating point that a bundle always has
_POINT_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_MEMBER_NAME = re.compile(r"[a-z0-9_-][a-z0-9_.-]*(/[a-z0-9_-][a-z0-9_.-]*)*")


@dataclass(frozen=True)
class MemberSpec:
    """One member of the bundle. `dtype` and `shape` are there when it is an array.

    Attributes:
        size: bytes.
        sha256: of those.
        dtype: of the elements of an array.
        shape: of an array.
    """

    size: Annotated[int, Range(0)]
    sha256: Digest
    dtype: DType | None = None
    shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        check_fields(self, "member")
        require(
            (self.dtype is None) == (self.shape is None),
            "member has only one of dtype and shape",
            expected="both, or neither",
            got=(self.dtype, self.shape),
        )
        if self.shape is not None:
            width = 1 if self.dtype == "uint8" else 4
            require(
                len(self.shape) <= 8
                and all(0 <= n <= 2**31 for n in self.shape)
                # An empty array's other sides count too: NumPy refuses (0, 2**31, 2**31, 2**31).
                and math.prod(max(n, 1) for n in self.shape) * width < 2**63
                and math.prod(self.shape) * width == self.size,
                "member shape does not fit its size",
                expected=f"{self.size} bytes of {self.dtype}",
                got=self.shape,
            )


@dataclass(frozen=True)
class FidelitySpec:
    """How near an operating point comes to the reference, measured when it was exported.

    Attributes:
        frames: held-out good images that both scored.
        rank_correlation: Spearman's, of their scores.
        score_error: mean difference of their scores, relative to the reference's mean.
        labelled: test images that both scored; 0 without.
        auroc, reference_auroc: image AUROC on those, of the point and of the reference; None without.
    """

    frames: Annotated[int, Range(1)]
    rank_correlation: Annotated[float, Range(-1, 1)]
    score_error: Annotated[float, Range(0)]
    labelled: Annotated[int, Range(0)] = 0
    auroc: Annotated[float, Range(0, 1)] | None = None
    reference_auroc: Annotated[float, Range(0, 1)] | None = None

    def __post_init__(self) -> None:
        check_fields(self, "fidelity")
        areas = (self.auroc, self.reference_auroc)
        require(
            all((area is not None) == (self.labelled > 0) for area in areas),
            "fidelity.auroc does not fit the labelled images",
            expected="numbers with labelled images, null without",
            got=areas,
        )


@dataclass(frozen=True)
class PointSpec:
    """An operating point beside the reference: cheaper, and a little less faithful.

    Its members stand under ``points/NAME/``, by the names that the reference's have. Models and masks that are not
    there are the reference's; everything else, coreset and threshold above all, was made through its own graph.

    Attributes:
        name: such as ``bf16``, ``int8-openvino`` or ``f32-192x192``.
        engine: the one that it was made with and runs by; "any" where both give the same.
        backbone, head, index, calibration, probes: of this point, as those of the reference.
        fidelity: against the reference.
    """

    name: Annotated[str, Matching(_POINT_NAME, 64, "1..64 of a-z 0-9 in parts divided by -")]
    engine: Annotated[str, OneOf(ENGINES, also=("any",))]
    backbone: BackboneSpec
    head: HeadSpec
    index: IndexSpec | None
    calibration: CalibrationSpec
    probes: ProbesSpec
    fidelity: FidelitySpec

    def __post_init__(self) -> None:
        check_fields(self, "point")
        require(self.name != REFERENCE, "point.name is not allowed", expected=f"not {REFERENCE}", got=self.name)


@dataclass(frozen=True)
class Manifest:
    """All that ``manifest.json`` says, less its format line.

    Backbone, head, index, calibration and probes are those of the reference point.
    `edge_ad.bundle.file.write_bundle` computes `members`, so a manifest to be written has none.

    Attributes:
        name: of the bundle, for a reader.
        created: when it was exported, for a reader.
        producer: versions of what exported it.
        points: operating points beside the reference.
        members: by name.
    """

    name: str
    created: str
    producer: dict[str, str]
    frame: FrameSpec
    roi: RoiSpec | None
    backbone: BackboneSpec
    head: HeadSpec
    index: IndexSpec | None
    calibration: CalibrationSpec
    probes: ProbesSpec
    members: dict[str, MemberSpec] = dataclasses.field(default_factory=dict)
    points: tuple[PointSpec, ...] = ()

    def __post_init__(self) -> None:
        require(
            self.roi is None or self.frame.size is None or is_box(self.roi.box, self.frame.size),
            "roi.box is not inside the frame",
            expected=f"a box inside {self.frame.size}",
            got=self.roi and self.roi.box,
        )
        searched = METHODS[self.head.method].needs_index
        require(
            searched == (self.index is not None),
            "index does not fit the method",
            expected=f"{'an object' if searched else 'null'} for {self.head.method}",
            got=self.index,
        )
        require(
            self.has_map == (self.calibration.pixel_threshold is not None),
            "calibration.pixel_threshold does not fit the method",
            expected=f"{'a number' if self.has_map else 'null'} for {self.head.method}",
            got=self.calibration.pixel_threshold,
        )
        require(
            len(self.members) <= MAX_MEMBERS,
            "the bundle has too many members",
            expected=f"{MAX_MEMBERS} at most",
            got=len(self.members),
        )
        names = [point.name for point in self.points]
        require(len(set(names)) == len(names), "two operating points have one name", expected="names", got=names)
        for name in names:
            self.at(name)  # what holds for the reference holds for every point
        for name in self.members:
            require(
                name != MANIFEST_NAME and len(name) <= 200 and _MEMBER_NAME.fullmatch(name) is not None,
                "a member's name is not allowed",
                expected="1..200 of a-z 0-9 _ . - in parts divided by /, none of which begins with a dot",
                got=name,
            )

    @property
    def has_map(self) -> bool:
        """Whether the method tells where an anomaly is."""
        return METHODS[self.head.method].has_map

    @property
    def point_names(self) -> tuple[str, ...]:
        """Names of the operating points, the reference first."""
        return (REFERENCE, *(point.name for point in self.points))

    def find_point(self, name: str) -> PointSpec | None:
        """The operating point of that name; None for the reference.

        Raises:
            SpecError: there is none.
        """
        found = {REFERENCE: None, **{point.name: point for point in self.points}}
        require(name in found, "the bundle has no such operating point", expected=" or ".join(found), got=name)
        return found[name]

    def at(self, name: str) -> Manifest:
        """The manifest as if that operating point were the only one.

        Raises:
            SpecError: there is none.
        """
        point = self.find_point(name)
        if point is None:
            return dataclasses.replace(self, points=())
        names = ("backbone", "head", "index", "calibration", "probes")
        return dataclasses.replace(self, points=(), **{part: getattr(point, part) for part in names})
