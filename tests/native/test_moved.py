"""Sums of products of a picture that is moved and of planes: those of the twin and of OpenCV's warpAffine."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from edge_ad.errors import NativeError
from edge_ad.native import _core, reference
from edge_ad.native.moved import MOST_PLANES, moved_products

STILL = np.array([[1.0, 0, 0], [0, 1, 0]])
MATRICES = {
    "still": STILL,
    "shifted": np.array([[1.0, 0, 2.25], [0, 1, -1.5]]),
    "turned": np.array([[0.95, -0.3, 1.5], [0.3, 0.95, -2]]),
    "larger": np.array([[3.0, 0.5, -4], [-0.25, 2, 1]]),
    "away": np.array([[1.0, 0, 1000], [0, 1, 0]]),
    "far away": np.array([[1e30, 0, 0], [0, -1e30, 1e38]]),
}


def made(height: int, width: int, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A picture, weights and planes."""
    generator = np.random.default_rng([height, width, seed])
    picture = generator.normal(0, 30, (height, width)).astype(np.float32)
    weights = generator.integers(0, 3, (height, width)).astype(np.float32) / 2
    return picture, weights, generator.normal(0, 9, (count, height, width)).astype(np.float32)


def assert_alike(found: np.ndarray, wanted: np.ndarray) -> None:
    size = np.sqrt(np.diag(wanted))
    np.testing.assert_array_less(np.abs(found - wanted), 1e-5 * np.outer(size, size) + 1e-6)
    np.testing.assert_array_equal(found, found.T)


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 6, MOST_PLANES])
def test_equals_the_twin(each_isa: str, name: str, count: int) -> None:
    for height, width in ((2, 2), (2, 40), (3, 15), (40, 3), (17, 31), (16, 32), (19, 33), (3, 1030)):
        picture, weights, planes = made(height, width, count)
        wanted = reference.moved_products(picture, MATRICES[name], weights, planes)
        assert wanted.shape == (1 + count, 1 + count)
        assert_alike(moved_products(picture, MATRICES[name], weights, planes), wanted)


@pytest.mark.parametrize("name", ["still", "shifted", "turned", "larger"])
def test_the_picture_is_moved_as_by_opencv(each_isa: str, name: str) -> None:
    """But for pixels that the frame does not show, and 1/32 of a pixel, by which OpenCV 4 moves."""
    picture, weights, _ = made(40, 50, 0)
    picture = cv2.GaussianBlur(picture, (9, 9), 3)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(picture, MATRICES[name], (50, 40), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    y, x = np.mgrid[:40, :50]
    at = MATRICES[name] @ np.stack([x.ravel(), y.ravel(), np.ones(2000)])
    inside = ((at >= -0.5) & (at <= [[49.5], [39.5]])).all(axis=0).reshape(40, 50)
    found = moved_products(picture, MATRICES[name], weights, np.stack([moved, np.ones_like(moved)]))
    own = (weights * inside)[None] * moved
    assert found[2, 2] == pytest.approx((weights * inside).sum(), rel=0.01)
    np.testing.assert_allclose(found[0], [(own * moved).sum(), (own * moved).sum(), own.sum()], rtol=0.02, atol=5)


def test_what_is_not_shown_does_not_count() -> None:
    picture, weights, planes = made(20, 30, 2)
    assert not moved_products(picture, MATRICES["away"], weights, planes).any()
    assert not moved_products(picture, np.full((2, 3), np.nan), weights, planes).any()
    assert not moved_products(picture, STILL, np.zeros_like(weights), planes).any()


def test_many_threads_at_once() -> None:
    given = [made(24, 31, 4, seed) for seed in range(4)]
    wanted = [moved_products(one[0], MATRICES["turned"], *one[1:]) for one in given]
    with ThreadPoolExecutor(8) as threads:
        call = lambda n: moved_products(given[n % 4][0], MATRICES["turned"], *given[n % 4][1:])  # noqa: E731
        for number, sums in enumerate(threads.map(call, range(400))):
            np.testing.assert_array_equal(sums, wanted[number % 4])


PICTURE, WEIGHTS, PLANES = made(8, 12, 3)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((PICTURE.astype(np.float64), STILL, WEIGHTS, PLANES), "picture"),
        ((PICTURE[:, ::2], STILL, WEIGHTS[:, ::2].copy(), PLANES[:, :, ::2].copy()), "picture"),
        ((PICTURE[0], STILL, WEIGHTS[0], PLANES[:, 0].copy()), "picture"),
        ((PICTURE.tolist(), STILL, WEIGHTS, PLANES), "picture"),
        ((PICTURE, STILL[:1], WEIGHTS, PLANES), "matrix"),
        ((PICTURE, STILL.astype(np.float32), WEIGHTS, PLANES), "matrix"),
        ((PICTURE, STILL, WEIGHTS[1:], PLANES), "weights"),
        ((PICTURE, STILL, WEIGHTS, PLANES[:, 1:].copy()), "planes"),
        ((PICTURE, STILL, WEIGHTS, PLANES[::2]), "planes"),
        ((PICTURE, STILL, WEIGHTS, [*PLANES]), "planes"),
        ((PICTURE, STILL, WEIGHTS, None), "planes"),
        ((PICTURE, STILL, WEIGHTS, np.zeros((MOST_PLANES + 1, 8, 12), np.float32)), "planes"),
        ((PICTURE[:1], STILL, WEIGHTS[:1], PLANES[:, :1].copy()), "side"),
    ],
)
def test_other_arguments_are_refused(arguments: tuple, named: str) -> None:
    with pytest.raises(NativeError, match=named):
        moved_products(*arguments)


def test_the_extension_looks_again_at_what_could_leave_its_memory() -> None:
    sums = np.empty((4, 4))
    for arguments in (
        (PICTURE, STILL, WEIGHTS[1:], PLANES, sums),
        (PICTURE, STILL, WEIGHTS, PLANES[:, :, 1:].copy(), sums),
        (PICTURE, STILL, WEIGHTS, PLANES, sums[:3, :3].copy()),
        (PICTURE, STILL[:, :2].copy(), WEIGHTS, PLANES, sums),
        (PICTURE[:1], STILL, WEIGHTS[:1], PLANES[:, :1].copy(), sums),
        (PICTURE, STILL, WEIGHTS, np.zeros((MOST_PLANES + 1, 8, 12), np.float32), np.empty((17, 17))),
    ):
        with pytest.raises((NativeError, TypeError)):
            _core.moved_products(*arguments)
