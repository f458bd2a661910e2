"""What a bundle says of itself: frozen dataclasses, validated when they are made.

Sizes are (H, W); boxes are half-open (y0, x0, y1, x1). Every class here is a part of `Manifest`, whose JSON
form is the ``manifest.json`` of a bundle (FORMAT.md; `edge_ad.manifest` converts). A field out of its range gives a
`SpecError` that names the field.

Over 400 lines: one list of plain declarations with their ranges.
"""

from __future__ import annotations

import dataclasses
import math
import re
import reprlib
import typing
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import SpecError

MANIFEST_NAME = "manifest.json"
MAX_MEMBERS = 1_000
MAX_SIDE = 4096  # pixels: of the tensor that an engine gets
MAX_FRAME_PIXELS = 2**28  # 268 megapixels: of a frame from the camera
MAX_CHANNELS = 2048  # of PaDiM: a covariance has their square
MAX_NEIGHBORS = 1000
MIN_FRAME_SIDE = 16  # pixels: below this a frame holds nothing to inspect

Frame = NDArray[np.uint8] | NDArray[np.uint16]
Size = tuple[int, int]
Box = tuple[int, int, int, int]
DType = Literal["uint8", "int32", "float32"]
Precision = Literal["f32", "bf16", "int8"]  # int8: the model's own; of the engine it is f32 then
DTYPES: tuple[str, ...] = typing.get_args(DType)

REFERENCE = "f32"  # name of the operating point that a bundle always has
_POINT_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_MEMBER_NAME = re.compile(r"[a-z0-9_-][a-z0-9_.-]*(/[a-z0-9_-][a-z0-9_.-]*)*")


def require(ok: bool, what: str, *, expected: object, got: object, remedy: str | None = None) -> None:
    """Raises `SpecError` unless `ok`."""
    if not ok:
        raise SpecError(what, expected=expected, got=reprlib.repr(got), remedy=remedy)


def _is_size(size: Size, low: int, high: int) -> bool:
    return all(low <= side <= high for side in size)


def _is_box(box: Box, size: Size) -> bool:
    y0, x0, y1, x1 = box
    return 0 <= y0 < y1 <= size[0] and 0 <= x0 < x1 <= size[1]


@dataclass(frozen=True)
class FrameSpec:
    """What the camera gives.

    Attributes:
        size: (H, W) that every good image had, or None when they differed.
        color_order: order of the channels of an (H, W, 3) array. Files are always read as they should be.
        bit_depth: 8, or 16 when u16 frames are accepted beside u8.
        white_level: the u16 value that is white: 65535, or 4095 for a 12-bit camera.
    """

    size: Size | None
    color_order: Literal["bgr", "rgb"] = "bgr"
    bit_depth: Literal[8, 16] = 8
    white_level: int = 65535

    def __post_init__(self) -> None:
        require(
            self.size is None
            or (_is_size(self.size, MIN_FRAME_SIDE, 2**20) and math.prod(self.size) <= MAX_FRAME_PIXELS),
            "frame.size is out of range",
            expected=f"(H, W), each {MIN_FRAME_SIDE}..{2**20}, {MAX_FRAME_PIXELS} pixels at most",
            got=self.size,
        )
        require(
            255 <= self.white_level <= 65535,
            "frame.white_level is out of range",
            expected="255..65535",
            got=self.white_level,
        )


@dataclass(frozen=True)
class RoiSpec:
    """The region of interest. Its mask and patch mask are members of the bundle.

    Attributes:
        source: how it was given, for a reader: ``box 10,20,200,300``, ``mask roi.png``, ``polygon roi.json``.
        box: bounding box of the region, in pixels of a frame of `FrameSpec.size`.
        halo_px: margin around the box in the crop, pixels at the input scale.
        fill: (B, G, R) mean colour of the region over the good images, put wherever the mask is black.
    """

    source: str
    box: Box
    halo_px: int
    fill: tuple[int, int, int]

    def __post_init__(self) -> None:
        require(
            _is_box(self.box, (2**20, 2**20)),
            "roi.box is not a box",
            expected="(y0, x0, y1, x1), y0 < y1, x0 < x1, from 0",
            got=self.box,
        )
        require(
            all(0 <= c <= 255 for c in self.fill),
            "roi.fill is out of range",
            expected="0..255",
            got=self.fill,
        )
        require(
            0 <= self.halo_px <= MAX_SIDE,
            "roi.halo_px is out of range",
            expected=f"0..{MAX_SIDE}",
            got=self.halo_px,
        )


@dataclass(frozen=True)
class BackboneSpec:
    """The network and the graph that was made of it.

    Attributes:
        name: torchvision name, or the file name of the user's own ONNX file.
        layers: the layers (or ONNX outputs) whose features are concatenated, shallowest grid first.
        mean, std: (R, G, B) normalisation of pixels in [0, 1]; folded into the graph.
        weights: where the weights came from, for a reader.
        weights_sha256: of the weights file, hexadecimal.
        input_size: (H, W) to which a whole frame is resized.
        crop: box of `input_size` that the engine gets; the whole without ROI.
        grid: (h, w) of the patches of the crop.
        dim: D, length of a patch vector.
        precision: precision of the engine when the coreset and the threshold were made.
    """

    name: str
    layers: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    weights: str
    weights_sha256: str
    input_size: Size
    crop: Box
    grid: Size
    dim: int
    precision: Precision = "f32"

    def __post_init__(self) -> None:
        require(
            _is_size(self.input_size, 16, MAX_SIDE),
            "backbone.input_size is out of range",
            expected=f"(H, W), each 16..{MAX_SIDE}",
            got=self.input_size,
        )
        require(
            _is_box(self.crop, self.input_size),
            "backbone.crop is not a box of the input",
            expected=f"(y0, x0, y1, x1) inside {self.input_size}",
            got=self.crop,
        )
        require(
            _is_size(self.grid, 1, MAX_SIDE) and 1 <= self.dim <= 2**16,
            "backbone.grid or dim is out of range",
            expected=f"grid 1..{MAX_SIDE}, dim 1..65536",
            got=(self.grid, self.dim),
        )
        require(
            all(math.isfinite(v) for v in (*self.mean, *self.std)) and all(v > 0 for v in self.std),
            "backbone.mean or std is not a normalisation",
            expected="finite, std above 0",
            got=(self.mean, self.std),
        )

    @property
    def tensor_size(self) -> Size:
        """(H, W) of the u8 tensor that the engine gets: the size of the crop."""
        y0, x0, y1, x1 = self.crop
        return (y1 - y0, x1 - x0)


@dataclass(frozen=True)
class PatchcoreSpec:
    """PatchCore: distances to the nearest row of the coreset (`edge_ad.heads.patchcore`).

    Attributes:
        reweight_neighbors: b of Eq. 7 of the paper, or 0 for the plain maximum.
    """

    method: Literal["patchcore"]
    reweight_neighbors: int = 0

    def __post_init__(self) -> None:
        require(
            0 <= self.reweight_neighbors <= 1000,
            "head.reweight_neighbors is out of range",
            expected="0..1000",
            got=self.reweight_neighbors,
        )


@dataclass(frozen=True)
class PadimSpec:
    """PaDiM: Mahalanobis distances from a Gaussian of each patch position (`edge_ad.heads.padim`).

    Attributes:
        channels: C, how many of the D numbers of a patch vector are used.
        regularization: what was added to the diagonal of each covariance.
    """

    method: Literal["padim"]
    channels: int
    regularization: float

    def __post_init__(self) -> None:
        require(
            1 <= self.channels <= MAX_CHANNELS,
            "head.channels is out of range",
            expected=f"1..{MAX_CHANNELS}",
            got=self.channels,
        )
        require(
            math.isfinite(self.regularization) and self.regularization > 0,
            "head.regularization is out of range",
            expected="finite, above 0",
            got=self.regularization,
        )


@dataclass(frozen=True)
class KnnSpec:
    """kNN: mean distance to the K nearest rows of the coreset (`edge_ad.heads.knn`).

    Attributes:
        neighbors: K.
    """

    method: Literal["knn"]
    neighbors: int

    def __post_init__(self) -> None:
        _require_neighbors(self.neighbors)


@dataclass(frozen=True)
class ProjectionSpec:
    """The projection that bounds distances in exact search (edge_ad/native/bounds.hpp).

    Attributes:
        dim: d, rows of the basis.
    """

    dim: int

    def __post_init__(self) -> None:
        require(1 <= self.dim <= 256, "projection.dim is out of range", expected="1..256", got=self.dim)


@dataclass(frozen=True)
class SpadeSpec:
    """SPADE: distances to the nearest images, and to the nearest patches of those (`edge_ad.heads.spade`).

    Attributes:
        images: good images whose embeddings are kept.
        gallery: images whose patches are kept.
        neighbors: K, of both.
        projection: for the search among patches; None where brute force is as fast, and in older bundles.
    """

    method: Literal["spade"]
    images: int
    gallery: int
    neighbors: int
    projection: ProjectionSpec | None = None

    def __post_init__(self) -> None:
        _require_neighbors(self.neighbors)
        require(
            1 <= self.gallery <= self.images <= 10**6,
            "head.gallery is out of range",
            expected="1..images, 1000000 at most",
            got=(self.gallery, self.images),
        )


@dataclass(frozen=True)
class CentroidSpec:
    """Cosine distance of the frame's embedding from the mean of the goods (`edge_ad.heads.centroid`)."""

    method: Literal["centroid"]


HeadSpec = PatchcoreSpec | PadimSpec | KnnSpec | SpadeSpec | CentroidSpec  # `method` tells which


def _require_neighbors(neighbors: int) -> None:
    require(
        1 <= neighbors <= MAX_NEIGHBORS,
        "head.neighbors is out of range",
        expected=f"1..{MAX_NEIGHBORS}",
        got=neighbors,
    )


@dataclass(frozen=True)
class GraphSpec:
    """The HNSW graph over the coreset (Malkov & Yashunin 2018).

    Attributes:
        entry: coreset row where the descent starts.
        m, ef_construction: parameters of the construction.
        ef: breadth of the search at run time.
        recall: share of held-out patches whose true nearest neighbour the search found at export.
    """

    entry: int
    m: int
    ef_construction: int
    ef: int
    recall: float

    def __post_init__(self) -> None:
        require(self.entry >= 0, "index.graph.entry is out of range", expected="0 or more", got=self.entry)
        require(
            1 <= self.m <= 1024 and 1 <= self.ef_construction <= 2**16,
            "index.graph.m or ef_construction is out of range",
            expected="m 1..1024, ef_construction 1..65536",
            got=(self.m, self.ef_construction),
        )
        require(1 <= self.ef <= 4096, "index.graph.ef is out of range", expected="1..4096", got=self.ef)
        require(0.0 <= self.recall <= 1.0, "index.graph.recall is out of range", expected="0..1", got=self.recall)


@dataclass(frozen=True)
class IndexSpec:
    """The coreset: `size` patch vectors of the good images, and the graph over them if there is one.

    PatchCore and kNN search among it; the other methods have none.

    Attributes:
        size: N, rows of the coreset.
        patches: how many patches it was chosen from.
        seed: of the selection.
        graph: None where the coreset is too small to need one.
        projection: for exact search; None where brute force is as fast, and in older bundles.
    """

    size: int
    patches: int
    seed: int
    graph: GraphSpec | None
    projection: ProjectionSpec | None = None

    def __post_init__(self) -> None:
        require(1 <= self.size <= self.patches, "index.size is out of range", expected="1..patches", got=self.size)
        require(
            self.graph is None or self.graph.entry < self.size,
            "index.graph.entry is not a row of the coreset",
            expected=f"below {self.size}",
            got=self.graph and self.graph.entry,
        )


@dataclass(frozen=True)
class CalibrationSourceSpec:
    """Where thresholds came from that `edge-ad calibrate` chose, and not the export.

    Attributes:
        bundle: id of the bundle that was given.
        exported: id of the first one, as the export wrote it: `bundle` itself, unless that was calibrated again too.
            All but the calibration is the same in both.
        data: what was scored, for a reader: name and kind of the folder, no path of the machine.
        goods, defects: how many scores the threshold was chosen from.
        images_sha256: of the content of those images, whatever their names and order: SHA-256 of the sorted lines
            ``DIGEST good`` and ``DIGEST defect``, each with a line feed, where DIGEST is the hexadecimal SHA-256 of an
            image file. None where the scores are those that the bundle kept.
        engine, precision: what gave the scores: ``openvino 2026.4``, ``f32``.
        edge_ad: version that chose.
        created: when.
    """

    bundle: str
    exported: str
    data: str
    goods: int
    defects: int
    images_sha256: str | None
    engine: str
    precision: str
    edge_ad: str
    created: str

    def __post_init__(self) -> None:
        digests = (
            ("bundle", self.bundle, 16),
            ("exported", self.exported, 16),
            ("images_sha256", self.images_sha256, 64),
        )
        for name, value, digits in digests:
            require(
                value is None or (len(value) == digits and set(value) <= set("0123456789abcdef")),
                f"calibration.source.{name} is not a digest",
                expected=f"{digits} lower-case hexadecimal digits",
                got=value,
            )
        require(
            self.goods >= 2 and self.defects >= 0,
            "calibration.source.goods or defects is out of range",
            expected="2 or more goods, 0 or more defects",
            got=(self.goods, self.defects),
        )


@dataclass(frozen=True)
class CalibrationSpec:
    """Where the threshold came from. A frame is anomalous when its score is at least the threshold.

    Attributes:
        rule: how the threshold was chosen; `value` is the rule's parameter (a percentile, k of mean + k
            sigma, a target rate; 0 for f1 and youden, which take it from labelled defects).
        threshold: of the image score.
        pixel_threshold: of the anomaly map, by the same rule from the peaks of the held-out goods' maps; None
            where the method gives no map.
        interval: 95% bootstrap interval of the threshold.
        split: how the held-out goods were had, for a reader: ``4-fold`` or ``split 20%``, ``test images``.
        good_scores: image score of every held-out good.
        good_peaks: peak of the anomaly map of every held-out good; none where there is no map.
        defect_scores: image scores of labelled defects, where the rule uses them.
        source: None where the export chose.
    """

    rule: Literal["percentile", "sigma", "false-reject", "f1", "youden"]
    value: float
    threshold: float
    pixel_threshold: float | None
    interval: tuple[float, float]
    split: str
    good_scores: tuple[float, ...]
    good_peaks: tuple[float, ...]
    defect_scores: tuple[float, ...] = ()
    source: CalibrationSourceSpec | None = None

    def __post_init__(self) -> None:
        pixels = () if self.pixel_threshold is None else (self.pixel_threshold,)
        numbers = (self.value, self.threshold, *pixels, *self.interval)
        require(
            all(math.isfinite(v) for v in (*numbers, *self.good_scores, *self.good_peaks, *self.defect_scores)),
            "calibration holds NaN or Inf",
            expected="finite numbers",
            got=numbers,
        )
        require(
            min(self.threshold, *pixels, math.inf) > 0,
            "calibration threshold is out of range",
            expected="above 0",
            got=(self.threshold, self.pixel_threshold),
        )
        low, high = self.interval
        require(low <= high, "calibration.interval is not an interval", expected="(low, high)", got=self.interval)


@dataclass(frozen=True)
class ProbesSpec:
    """Golden probes: frames with the answers they must give on every PC.

    Attributes:
        count: P, how many.
        size: (H, W) of each.
        rows: how many patches of each are stored.
        tolerance: largest relative difference of patches, distances, map and score.
    """

    count: int
    size: Size
    rows: int
    tolerance: float

    def __post_init__(self) -> None:
        require(1 <= self.count <= 64, "probes.count is out of range", expected="1..64", got=self.count)
        require(
            _is_size(self.size, MIN_FRAME_SIDE, MAX_SIDE),
            "probes.size is out of range",
            expected=f"(H, W), each {MIN_FRAME_SIDE}..{MAX_SIDE}",
            got=self.size,
        )
        require(0 < self.tolerance < 1, "probes.tolerance is out of range", expected="0..1", got=self.tolerance)


@dataclass(frozen=True)
class MemberSpec:
    """One member of the bundle. `dtype` and `shape` are there when it is an array."""

    size: int
    sha256: str
    dtype: DType | None = None
    shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        require(self.size >= 0, "member size is out of range", expected="0 or more", got=self.size)
        require(
            len(self.sha256) == 64 and set(self.sha256) <= set("0123456789abcdef"),
            "member sha256 is not a digest",
            expected="64 lower-case hexadecimal digits",
            got=self.sha256,
        )
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
        frames: held-out goods that both scored.
        rank_correlation: Spearman's, of their scores.
        score_error: mean difference of their scores, relative to the reference's mean.
        labelled: test images that both scored; 0 without.
        auroc, reference_auroc: image AUROC on those, of the point and of the reference; None without.
    """

    frames: int
    rank_correlation: float
    score_error: float
    labelled: int = 0
    auroc: float | None = None
    reference_auroc: float | None = None

    def __post_init__(self) -> None:
        require(
            self.frames >= 1 and self.labelled >= 0,
            "fidelity.frames or labelled is out of range",
            expected="frames 1 or more, labelled 0 or more",
            got=(self.frames, self.labelled),
        )
        require(
            -1 <= self.rank_correlation <= 1 and math.isfinite(self.score_error) and self.score_error >= 0,
            "fidelity.rank_correlation or score_error is out of range",
            expected="-1..1, 0 or more",
            got=(self.rank_correlation, self.score_error),
        )
        areas = (self.auroc, self.reference_auroc)
        require(
            all((area is not None) == (self.labelled > 0) and 0 <= (area or 0) <= 1 for area in areas),
            "fidelity.auroc does not fit the labelled images",
            expected="0..1 with labelled images, null without",
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
        backbone, head, index, calibration, probes: as in `Manifest`.
        fidelity: against the reference.
    """

    name: str
    engine: Literal["any", "openvino", "onnxruntime"]
    backbone: BackboneSpec
    head: HeadSpec
    index: IndexSpec | None
    calibration: CalibrationSpec
    probes: ProbesSpec
    fidelity: FidelitySpec

    def __post_init__(self) -> None:
        require(
            len(self.name) <= 64 and _POINT_NAME.fullmatch(self.name) is not None and self.name != REFERENCE,
            "the name of an operating point is not allowed",
            expected=f"1..64 of a-z 0-9 in parts divided by -, and not {REFERENCE}",
            got=self.name,
        )


@dataclass(frozen=True)
class Manifest:
    """All that ``manifest.json`` says, less its format line.

    Backbone, head, index, calibration and probes are those of the reference point.
    `members` is by name; `edge_ad.bundle.write_bundle` computes it, so a manifest to be written has none.
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
            self.roi is None or self.frame.size is None or _is_box(self.roi.box, self.frame.size),
            "roi.box is not inside the frame",
            expected=f"a box inside {self.frame.size}",
            got=self.roi and self.roi.box,
        )
        searched = isinstance(self.head, (PatchcoreSpec, KnnSpec))
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
        return not isinstance(self.head, CentroidSpec)

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
