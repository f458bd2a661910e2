"""Photometric stereo by the core: equal to the twin's to the bit, whatever the instruction set and the threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_ad import native
from edge_ad.errors import NativeError
from edge_ad.native import _core
from edge_ad.native.normals import MOST_PICTURES, null_of, photometric, solver_of
from edge_ad.native.reference_normals import photometric as twin


def made(
    seed: int, count: int, channels: int, dtype: Any, size: tuple[int, int]
) -> tuple[list[Any], Any, dict[str, Any]]:
    """Pictures, directions and options: shadows, highlights and pixels at white among them."""
    rng = np.random.default_rng([seed, count, channels, *size])
    turn, rise = rng.uniform(0, 2 * np.pi, count), np.radians(rng.uniform(30, 75, count))
    lights = np.stack([np.cos(rise) * np.cos(turn), np.cos(rise) * np.sin(turn), np.sin(rise)], axis=1)
    top, shape = int(np.iinfo(dtype).max), size if channels == 1 else (*size, channels)
    base = rng.uniform(0, 1, shape)
    pictures = [(np.clip(base * rng.uniform(-0.2, 1.3, shape), 0, 1) * top).astype(dtype) for _ in range(count)]
    options = {
        "scales": (rng.uniform(0.5, 2, (count, channels)) / top).astype(np.float32),
        "dark": 0.01,
        "white": float(top),
        "ambient": (rng.uniform(0, 0.1, shape) * top).astype(dtype) if seed % 2 else None,
        "gains": rng.uniform(0.5, 2, (count, *size)).astype(np.float32) if seed % 3 == 1 else None,
        "mask": rng.uniform(size=size) > 0.3 if seed % 3 == 2 else None,
    }
    return pictures, lights, options


@pytest.mark.parametrize("robust", [False, True])
@pytest.mark.parametrize("count", [3, 4, 5, 17])
def test_equals_the_twin(count: int, robust: bool) -> None:
    before = native.isa()
    sizes = [(1, 1), (2, 7), (3, 8), (2, 9), (1, 15), (1, 17), (2, 63), (1, 64), (3, 65), (2, 131)]
    for seed, size in enumerate(sizes):
        for channels, dtype in ((1, np.uint8), (3, np.uint8), (1, np.uint16), (3, np.uint16)):
            pictures, lights, options = made(seed, count, channels, dtype, size)
            expected = twin(pictures, lights, robust=robust, **options)
            for name in native.supported_isas():
                _core.use_isa(name)
                for got, wanted in zip(photometric(pictures, lights, robust=robust, **options), expected, strict=True):
                    np.testing.assert_array_equal(got, wanted, f"{name} {size} {channels} {dtype}")
    _core.use_isa(before)


def test_the_most_pictures() -> None:
    pictures, lights, options = made(0, MOST_PICTURES, 1, np.uint8, (1, 9))
    for got, wanted in zip(
        photometric(pictures, lights, robust=True, **options),
        twin(pictures, lights, robust=True, **options),
        strict=True,
    ):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("robust", [False, True])
def test_threads_and_strides_change_nothing(robust: bool) -> None:
    pictures, lights, options = made(2, 6, 3, np.uint8, (90, 120))
    alone = photometric(pictures, lights, robust=robust, **options)
    wide = [np.pad(picture, ((3, 2), (5, 9), (0, 0)))[3:-2, 5:-9] for picture in pictures]
    flipped = [np.ascontiguousarray(picture[::-1])[::-1] for picture in pictures]
    for given, pool in ((wide, native.Pool(3)), (flipped, native.Pool(2)), (pictures, native.Pool(1))):
        for got, wanted in zip(photometric(given, lights, robust=robust, **options, pool=pool), alone, strict=True):
            np.testing.assert_array_equal(got, wanted)


def test_nothing_where_there_is_no_light() -> None:
    pictures, lights, options = made(0, 5, 1, np.uint8, (4, 70))
    dark = [np.zeros_like(picture) for picture in pictures]
    for robust in (False, True):
        for array in photometric(dark, lights, robust=robust, **options):
            assert not array.any()


def test_the_matrices() -> None:
    lights = made(0, 4, 1, np.uint8, (1, 1))[1]
    np.testing.assert_allclose(solver_of(lights), np.linalg.pinv(lights), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(null_of(lights) @ lights, 0, atol=1e-6)
    assert np.linalg.norm(null_of(lights)) == pytest.approx(1)


@pytest.mark.parametrize("change", ["few", "size", "dtype", "scales", "mask", "gains", "ambient", "apart", "pool"])
def test_refuses(change: str) -> None:
    pictures, lights, options = made(0, 5, 1, np.uint8, (4, 6))
    given: dict[str, Any] = {"pictures": pictures, "directions": lights, "robust": True, **options}
    given |= {
        "few": {"pictures": pictures[:2], "directions": lights[:2]},
        "size": {"pictures": [*pictures[:4], pictures[4][:3]]},
        "dtype": {"pictures": [*pictures[:4], pictures[4].astype(np.uint16)]},
        "scales": {"scales": options["scales"].astype(np.float64)},
        "mask": {"mask": np.ones((3, 6), np.bool_)},
        "gains": {"gains": np.ones((5, 4, 5), np.float32)},
        "ambient": {"ambient": pictures[0][:, :5]},
        "apart": {"pictures": [np.repeat(picture, 2, axis=1)[:, ::2] for picture in pictures]},
        "pool": {"pool": 2},
    }[change]
    with pytest.raises(NativeError):
        photometric(**given)
