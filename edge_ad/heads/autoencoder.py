"""Autoencoder: a network that was trained on good images to repair what was spoilt in them gives each frame back as it
should be, and what differs is anomalous.

The graph of the bundle holds network and comparison (`export.autoencoder.graph`): a patch is a cell of a few pixels and
has two numbers, the mean difference of the colours, and 1 - SSIM. Edges and textures are never given back exactly. So
each error e counts by how far it is above the usual one of good images at that place, in their deviations:

    distance(p) = sum over both errors of max(0, (e - usual(p)) / spread(p))

The image score is the largest. No units: standard deviations of the good images.

Of a normal map the difference from the reconstruction is signed, and filters answer to it (`export.relief`): a place
has `answers` numbers. They are judged as PaDiM judges patches, by a Gaussian of the place (`edge_ad.heads.padim`): a
good part that lies or is lit a little otherwise changes them in ways that its covariance knows. The sizes alone, as
of pictures, lose that, and find less than half.

Source of the training on spoilt pictures: Collin & De Vleeschouwer, "Improved anomaly detection by training an
autoencoder with skip connections on images corrupted with stain-shaped noise" (ICPR 2020); of SSIM as an error of
autoencoders: Bergmann et al. (2019).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import BundleCorruptError
from edge_ad.heads.base import Head, Opening, Scored, largest
from edge_ad.heads.gaussian import Gaussians
from edge_ad.registry import Method, Option
from edge_ad.spec import HeadSpec
from edge_ad.spec.base import Range

ERRORS = 2  # numbers of a patch of a picture
USUAL, SPREAD = "autoencoder/usual", "autoencoder/spread"
MEANS, FACTORS = "autoencoder/means", "autoencoder/factors"  # of normal maps
_MOST_ANSWERS = 64
_MOST_ERROR = 1e3  # the graph's errors are some units at most, see export/autoencoder/graph.py
STEPS, WIDTH, SPOILT = Range(1, 1_000_000), Range(4, 128), Range(0, 1)


@dataclass(frozen=True)
class AutoencoderSpec(HeadSpec):
    """Autoencoder: errors of a reconstruction against the usual ones at each place.

    Attributes:
        steps: training steps behind the weights.
        spoilt: share of the training pictures that were spoilt for the network to repair; 0 taught it to give back
            whatever it sees.
        answers: C, how many filters answer to the difference at each place; None: two errors are judged by their size.
    """

    steps: Annotated[int, STEPS]
    spoilt: Annotated[float, SPOILT] = 1.0
    answers: Annotated[int, Range(1, _MOST_ANSWERS)] | None = field(default=None, metadata={"since": 5})


class Autoencoder:
    """The head; see the module.

    Args:
        usual, spread: (R, 2) float32; `spread` is above 0.
        rows: (R,) int32 patches of the region of interest; None where R = P.
    """

    has_map, search = True, "exact"

    def __init__(self, usual: NDArray[np.float32], spread: NDArray[np.float32], rows: NDArray[np.int32] | None) -> None:
        self._usual, self._per_spread, self._rows = usual, 1 / spread, rows

    @classmethod
    def open(cls, opening: Opening) -> Head:
        """The head of a bundle; where filters answer, that of their Gaussians.

        Raises:
            BundleCorruptError: a member does not fit the manifest, or the graph gives other numbers.
        """
        answers, dim = opening.spec(AutoencoderSpec).answers, opening.backbone.dim
        if dim != (answers or ERRORS):
            expected = f"{answers} answers" if answers else f"{ERRORS} errors"
            raise BundleCorruptError("the graph of an autoencoder gives other numbers", expected=expected, got=dim)
        if answers:
            means = opening.array(MEANS, (opening.patch_count, answers))
            factors = opening.array(FACTORS, (opening.patch_count, answers * (answers + 1) // 2))
            return Gaussians(np.arange(answers, dtype=np.int32), means, factors, opening.rows, opening.pool)
        usual, spread = (opening.array(name, (opening.patch_count, ERRORS)) for name in (USUAL, SPREAD))
        if not spread.min() >= np.finfo(np.float32).tiny:  # its inverse must be finite
            raise BundleCorruptError(f"{SPREAD} holds no deviations", expected="numbers above 0", got=spread.min())
        most = float(np.abs(usual).max(initial=0.0))
        if most > _MOST_ERROR or spread.max() > _MOST_ERROR:  # with those, no frame would be anomalous
            got = f"{most:.3g} and {float(spread.max()):.3g}"
            expected = f"errors and deviations of at most {_MOST_ERROR:g}"
            raise BundleCorruptError(f"{USUAL} or {SPREAD} holds no errors of pictures", expected=expected, got=got)
        return cls(usual, spread, opening.rows)

    def __call__(
        self, patches: NDArray[np.float32], *, exact: bool = False, rows: NDArray[np.int32] | None = None
    ) -> Scored:
        """Distances and the score of the (P, 2) errors of a grid, or of `rows` among them."""
        usual, per_spread, wanted = self._usual, self._per_spread, self._rows
        if rows is not None:
            own = rows if self._rows is None else np.searchsorted(self._rows, rows)
            usual, per_spread, wanted = usual[own], per_spread[own], rows
        inside = patches if wanted is None else patches[wanted]
        above = np.maximum((inside - usual) * per_spread, np.float32(0))  # NaN stays NaN
        distances = above[:, 0] + above[:, 1]
        return Scored(distances, largest(distances))


METHOD = Method(
    title="Autoencoder",
    spec=AutoencoderSpec,
    open=Autoencoder.open,
    score="largest error of the reconstruction above the usual one at its place, in deviations of the good images",
    members={
        USUAL: "float32 (R, 2): mean errors of good images: of colours, and of structure; where `head.answers` is null",
        SPREAD: "float32 (R, 2): their deviations, above 0; where `head.answers` is null",
        MEANS: "float32 (R, C): mean answers of good images; where `head.answers` is C",
        FACTORS: "float32 (R, C (C + 1) / 2): of their covariance, as `padim/factors`; where `head.answers` is C",
    },
    options=(
        Option("--steps", "most training steps; it ends before when nothing is gained", default=1200, limits=STEPS),
        Option("--width", "channels of the network's finest level", default=16, limits=WIDTH),
        Option(
            "--spoilt",
            "share of the training pictures that are spoilt, for the network to repair; with 0 it learns to give back "
            "whatever it sees, defects too",
            kind=float,
            default=1.0,
            limits=SPOILT,
            metavar="SHARE",
        ),
    ),
    masked=True,
    own_network=True,
    reconstructs=True,
    since=3,
)
