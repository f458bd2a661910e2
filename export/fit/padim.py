"""PaDiM's Gaussians: see `edge_ad.heads.padim` for the paper and its equations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import SpecError
from edge_ad.heads.base import Head
from edge_ad.heads.padim import MAX_CHANNELS, Padim, PadimSpec
from export.fit.base import Fitted, Material
from export.summary import Summary

REGULARIZATION = 0.01  # eps of Eq. 1
_CHUNK_FLOATS = 2**21  # of the covariances, and of the patches, of the positions that are fitted at a time
_DEFAULT_CHANNELS = {"wide_resnet50_2": 550}  # those of the paper; 100 for the others
_BUNDLE_BYTES = 2**31  # of the factors: a bundle is smaller than 4 GiB


class Fit:
    """A Gaussian for each position of the material's patches."""

    def __init__(self, material: Material) -> None:
        self._material = material
        self._channels = choose_channels(
            material.options.channels,
            material.patches.shape[2],
            _DEFAULT_CHANNELS.get(material.stages.backbone.name, 100),
            material.options.seed,
        )
        check_size(
            material.patches.shape[1],
            len(self._channels),
            remedy="Give fewer --channels, a smaller --input-size, or deeper --layers.",
        )

    def fit(self, images: NDArray[np.int64], label: str) -> Head:
        """The head of these images; `label` is not used: there is nothing to wait for."""
        means, factors = gaussians(self._material.patches, images, self._channels)
        return Padim(self._channels, means, factors, None, self._material.pool)

    def finish(self, images: NDArray[np.int64], summary: Summary) -> Fitted:
        """Channels, means and factors."""
        with summary.stage("gaussians"):
            means, factors = gaussians(self._material.patches, images, self._channels)
        positions, count = means.shape
        dim = self._material.patches.shape[2]
        summary.say("gaussians", f"{positions:,} positions, {count} of {dim} channels, of {len(images)} images")
        return Fitted(
            Padim(self._channels, means, factors, None, self._material.pool),
            PadimSpec("padim", count, REGULARIZATION),
            None,
            {"padim/channels": self._channels, "padim/means": means, "padim/factors": factors},
        )


def check_size(positions: int, count: int, *, remedy: str) -> None:
    """Refuses factors that a bundle cannot hold.

    Raises:
        SpecError: they are too large.
    """
    size = 2 * positions * count * (count + 1)
    if size > _BUNDLE_BYTES:
        raise SpecError(
            "PaDiM's factors are too large for a bundle",
            expected=f"{_BUNDLE_BYTES / 1e9:.1f} GB at most",
            got=f"{size / 1e9:.1f} GB for {positions} positions of {count} channels",
            remedy=remedy,
        )


def choose_channels(wanted: tuple[int, ...] | None, dim: int, default: int, seed: int) -> NDArray[np.int32]:
    """(C,) int32 ascending: the channels given, or so many of `dim` chosen at random.

    Args:
        wanted: (C,) for a count; several for the channels themselves; None for `default` or all, whichever is less.

    Raises:
        SpecError: a channel does not exist or is given twice, or a count is out of range.
    """
    if wanted is None:
        wanted = (min(default, dim),)
    most = min(dim, MAX_CHANNELS)
    if len(wanted) == 1:
        if not 1 <= wanted[0] <= most:
            raise SpecError("--channels is out of range", expected=f"a count, 1..{most}", got=wanted[0])
        return np.sort(np.random.default_rng(seed).permutation(dim)[: wanted[0]]).astype(np.int32)
    if len(set(wanted)) != len(wanted) or len(wanted) > most or min(wanted) < 0 or max(wanted) >= dim:
        raise SpecError(
            "--channels cannot be used", expected=f"at most {most} different ones of 0..{dim - 1}", got=wanted
        )
    return np.array(sorted(wanted), np.int32)


def gaussians(
    patches: NDArray[np.float32], images: NDArray[np.int64], channels: NDArray[np.int32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Means (R, C) and packed factors (R, C (C + 1) / 2) of the positions, float32, fitted in float64.

    Some positions at a time: memory besides the result is bounded by `_CHUNK_FLOATS` a few times over.

    Args:
        patches: (n, R, D) float32 of all good images; may be memory-mapped.
        images: (k,) numbers of those to fit.
        channels: (C,) which numbers of a patch to fit.
    """
    positions, count = patches.shape[1], len(channels)
    means = np.empty((positions, count), np.float32)
    factors = np.empty((positions, count * (count + 1) // 2), np.float32)
    columns, below = np.triu_indices(count)
    step = max(1, _CHUNK_FLOATS // (count * max(count, len(images))))
    for start in range(0, positions, step):
        part = slice(start, start + step)
        chosen = np.stack([patches[image, part][:, channels] for image in images], axis=1).astype(np.float64)
        mean = chosen.mean(axis=1)
        means[part] = mean
        chosen -= mean[:, None]
        covariance = np.swapaxes(chosen, 1, 2) @ chosen / max(1, len(images) - 1)
        covariance[:, range(count), range(count)] += REGULARIZATION
        factors[part] = np.linalg.inv(np.linalg.cholesky(covariance))[:, below, columns]
    return means, factors
