"""The manifest of a bundle: frozen dataclasses, validated when they are made.

Sizes are (H, W); boxes are half-open (y0, x0, y1, x1). Every class here is a part of `Manifest`, whose JSON
form is the ``manifest.json`` of a bundle (FORMAT.md; `edge_ad.spec.codec` converts). A field out of its range gives a
`SpecError` that names the field. The limits of a field stand beside it; the tables of FORMAT.md are made from them
(`edge_ad.spec.table`).
"""

from edge_ad.spec.align import MAX_REFERENCE, MOTIONS, AlignSpec
from edge_ad.spec.backbone import DISTANCES, RESIZES, BackboneSpec, TilesSpec
from edge_ad.spec.base import (
    MAX_FRAME_PIXELS,
    MAX_PICTURE_SIDE,
    MAX_SIDE,
    MIN_FRAME_SIDE,
    Box,
    Frame,
    Pixels,
    Size,
    Tensor,
    require,
)
from edge_ad.spec.calibration import CalibrationSourceSpec, CalibrationSpec
from edge_ad.spec.drift import DriftSpec
from edge_ad.spec.frame import FrameSpec, RoiSpec
from edge_ad.spec.lights import LightsSpec, StackSpec
from edge_ad.spec.manifest import (
    DTYPES,
    MANIFEST_NAME,
    MAX_MEMBERS,
    REFERENCE,
    DType,
    FidelitySpec,
    Manifest,
    MemberSpec,
    PointSpec,
    SecondSpec,
)
from edge_ad.spec.methods import GraphSpec, HeadSpec, IndexSpec, ProjectionSpec
from edge_ad.spec.power import PowerSpec
from edge_ad.spec.probes import ProbesSpec
from edge_ad.spec.taught import TaughtSpec

__all__ = [
    "DISTANCES",
    "DTYPES",
    "MANIFEST_NAME",
    "MAX_FRAME_PIXELS",
    "MAX_MEMBERS",
    "MAX_PICTURE_SIDE",
    "MAX_REFERENCE",
    "MAX_SIDE",
    "MIN_FRAME_SIDE",
    "MOTIONS",
    "REFERENCE",
    "RESIZES",
    "AlignSpec",
    "BackboneSpec",
    "Box",
    "CalibrationSourceSpec",
    "CalibrationSpec",
    "DType",
    "DriftSpec",
    "FidelitySpec",
    "Frame",
    "FrameSpec",
    "GraphSpec",
    "HeadSpec",
    "IndexSpec",
    "LightsSpec",
    "Manifest",
    "MemberSpec",
    "Pixels",
    "PointSpec",
    "PowerSpec",
    "ProbesSpec",
    "ProjectionSpec",
    "RoiSpec",
    "SecondSpec",
    "Size",
    "StackSpec",
    "TaughtSpec",
    "Tensor",
    "TilesSpec",
    "require",
]
