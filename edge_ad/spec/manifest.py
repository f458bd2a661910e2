"""The whole manifest of a bundle."""

from __future__ import annotations

import dataclasses
import math
import re
import typing
from dataclasses import dataclass
from typing import Annotated, Literal

from edge_ad.registry import ENGINES, METHODS, one_of
from edge_ad.spec.align import AlignSpec
from edge_ad.spec.backbone import RESIZES, BackboneSpec
from edge_ad.spec.base import Digest, Matching, OneOf, Range, check_fields, is_box, require
from edge_ad.spec.calibration import CalibrationSpec
from edge_ad.spec.drift import DriftSpec
from edge_ad.spec.frame import FrameSpec, RoiSpec
from edge_ad.spec.methods import HeadSpec, IndexSpec
from edge_ad.spec.power import PowerSpec
from edge_ad.spec.probes import ProbesSpec
from edge_ad.spec.taught import TaughtSpec

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
        size: number of bytes.
        sha256: SHA-256 of the bytes.
        dtype: type of an array's elements.
        shape: shape of an array.
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
    """How close an operating point is to the reference, measured by the export.

    Attributes:
        frames: number of held-out good images that both scored.
        rank_correlation: Spearman's rank correlation of their scores.
        score_error: mean difference of their scores, relative to the reference's mean.
        labelled: number of test images that both scored; 0 for none.
        auroc, reference_auroc: image AUROC of the point and of the reference on the test images; None without them.
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
class SecondSpec:
    """A second input size of an operating point. A frame is scored at both sizes, and the two answers are joined.

    The score of a frame is the larger of the first size's score and `factor` times the second size's, and so is each
    pixel of the anomaly map. So scores and thresholds are distances at the first size. Members of the second size are
    under ``second/``, with the names of the first size's.

    Attributes:
        backbone, head, index: those of the second size; the same fields as for the first.
        factor: brings scores of the second size to the scale of the first: the median score of held-out good images at
            the first size over that at the second.
    """

    backbone: BackboneSpec
    head: HeadSpec
    index: IndexSpec | None
    factor: Annotated[float, Range(0, above=True)]

    def __post_init__(self) -> None:
        check_fields(self, "second")


@dataclass(frozen=True)
class PointSpec:
    """An operating point beside the reference: cheaper, and a little less faithful.

    Its members are under ``points/NAME/``, with the same names as the reference's. Models and masks that are not there
    are the reference's. Everything else, above all coreset and threshold, was made with the point's own graph.

    Attributes:
        name: such as ``bf16``, ``int8-openvino`` or ``f32-192x192``.
        engine: the engine that made it and runs it; "any" if all engines give the same.
        backbone, head, index, calibration, probes: those of this point; the same fields as for the reference.
        fidelity: how close it is to the reference.
        power: as in `Manifest`.
        second: this point's second input size; None if it has one size.
    """

    name: Annotated[str, Matching(_POINT_NAME, 64, "1..64 of a-z 0-9 in parts divided by -")]
    engine: Annotated[str, OneOf(ENGINES, also=("any",))]
    backbone: BackboneSpec
    head: HeadSpec
    index: IndexSpec | None
    calibration: CalibrationSpec
    probes: ProbesSpec
    fidelity: FidelitySpec
    power: PowerSpec | None = None
    second: SecondSpec | None = None

    def __post_init__(self) -> None:
        check_fields(self, "point")
        require(self.name != REFERENCE, "point.name is not allowed", expected=f"not {REFERENCE}", got=self.name)


@dataclass(frozen=True)
class Manifest:
    """The content of ``manifest.json``, without its format fields.

    Backbone, head, index, calibration, probes and second are those of the reference point.
    `edge_ad.bundle.file.write_bundle` computes `members`, so a manifest to be written has none.

    Attributes:
        name: name of the bundle, for a reader.
        created: date and time of the export, for a reader.
        producer: package -> version, of the packages that exported it.
        second: a second input size, whose answers are joined; None if the point has one size.
        points: operating points beside the reference.
        power: what the reference scores synthetic defects; None in older bundles, and where none could be made.
        taught: what `edge-ad teach` and `edge-ad learn` added since, the oldest first.
        align: how the part is found in a frame; None where every frame is taken as it is.
        drift: what good images were like at export; None in older bundles, and where it could not be measured.
        members: member name -> its size, digest, dtype and shape.
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
    second: SecondSpec | None = None
    members: dict[str, MemberSpec] = dataclasses.field(default_factory=dict)
    points: tuple[PointSpec, ...] = ()
    power: PowerSpec | None = None
    taught: tuple[TaughtSpec, ...] = ()
    align: AlignSpec | None = dataclasses.field(default=None, metadata={"since": 3})
    drift: DriftSpec | None = None

    def __post_init__(self) -> None:
        require(
            self.roi is None or self.frame.size is None or is_box(self.roi.box, self.frame.size),
            "roi.box is not inside the frame",
            expected=f"a box inside {self.frame.size}",
            got=self.roi and self.roi.box,
        )
        _check_index(self.head, self.index, "index")
        require(
            self.backbone.distance in METHODS[self.head.method].distances,
            "backbone.distance does not fit the method",
            expected=f"{one_of(METHODS[self.head.method].distances)} for {self.head.method}",
            got=self.backbone.distance,
        )
        _check_tiles(self.head, self.index, self.backbone)
        _check_stack(self.frame, self.backbone)
        require(
            self.frame.stack is None or self.align is None,
            "stacks are not aligned",
            expected="align null with frame.stack",
            got="both",
        )
        if self.second is not None:
            self._check_second(self.second)
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
            self.at(name)  # every point is checked like the reference
        for name in self.members:
            require(
                name != MANIFEST_NAME and len(name) <= 200 and _MEMBER_NAME.fullmatch(name) is not None,
                "a member's name is not allowed",
                expected="1..200 of a-z 0-9 _ . - in parts divided by /, none of which begins with a dot",
                got=name,
            )

    def _check_second(self, second: SecondSpec) -> None:
        """Both sizes have one method and one arithmetic: the answers of a point have one meaning and one engine."""
        for name, own, other in (
            ("head.method", self.head.method, second.head.method),
            ("backbone.precision", self.backbone.precision, second.backbone.precision),
            ("backbone.distance", self.backbone.distance, second.backbone.distance),
        ):
            require(own == other, f"second.{name} is not that of the first size", expected=own, got=other)
        _check_index(second.head, second.index, "second.index")
        _check_tiles(second.head, second.index, second.backbone)
        _check_stack(self.frame, second.backbone)

    @property
    def has_map(self) -> bool:
        """Whether the method says where an anomaly is."""
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
        """The manifest of one operating point.

        Raises:
            SpecError: there is none.
        """
        point = self.find_point(name)
        if point is None:
            return dataclasses.replace(self, points=())
        names = ("backbone", "head", "index", "calibration", "probes", "second", "power")
        return dataclasses.replace(self, points=(), **{part: getattr(point, part) for part in names})

    @property
    def sights(self) -> tuple[Manifest, ...]:
        """A manifest with one input size for each size of the reference: one, or two that are joined."""
        first = dataclasses.replace(self, points=(), second=None)
        if self.second is None:
            return (first,)
        parts = {name: getattr(self.second, name) for name in ("backbone", "head", "index")}
        return (first, dataclasses.replace(first, **parts))


def _check_tiles(head: HeadSpec, index: IndexSpec | None, backbone: BackboneSpec) -> None:
    if backbone.tiles is None:
        return
    graph = None if index is None else index.graph
    require(graph is None, "there is a graph, but tiles are searched exactly", expected="index.graph null", got=graph)
    require(
        METHODS[head.method].tiles,
        "the method does not work on tiles",
        expected=one_of(METHODS.having(lambda method: method.tiles)),
        got=head.method,
    )


def _check_stack(frame: FrameSpec, backbone: BackboneSpec) -> None:
    area = RESIZES[0]
    require(
        frame.stack is None or backbone.resize == area,
        "backbone.resize does not fit a stack, whose normal map has area averages alone",
        expected=area,
        got=backbone.resize,
    )


def _check_index(head: HeadSpec, index: IndexSpec | None, name: str) -> None:
    searched = METHODS[head.method].needs_index
    require(
        searched == (index is not None),
        f"{name} does not fit the method",
        expected=f"{'an object' if searched else 'null'} for {head.method}",
        got=index,
    )
