"""The input sizes that are tried keep the aspect ratio of the frames."""

from __future__ import annotations

import pytest

pytest.importorskip("onnx", reason="the export needs onnx")

from export.choose.sizes import AREAS, STRIDE, candidate_sizes


@pytest.mark.parametrize("frame", [(512, 512), (380, 550), (2000, 800), (900, 2400)])
def test_areas_and_aspect(frame: tuple[int, int]) -> None:
    found = candidate_sizes([frame])
    assert len(found) == len(AREAS)
    for (height, width), area in zip(found, AREAS, strict=True):
        assert height % STRIDE == width % STRIDE == 0
        assert height * width == pytest.approx(area, rel=0.12)
        assert height / width == pytest.approx(frame[0] / frame[1], rel=0.12)


def test_the_median_aspect_counts() -> None:
    assert candidate_sizes([(1000, 1000)] * 3 + [(9000, 1000)]) == candidate_sizes([(2000, 2000)])


def test_of_a_region_the_crop_has_the_area() -> None:
    (height, width), *_ = candidate_sizes([(1000, 1000)], (0, 0, 500, 500))
    assert (height, width) == (512, 512)  # so that the crop has 256 x 256


def test_extreme_frames_stay_possible() -> None:
    for frame in [(16, 4000), (4000, 16), (1, 1)]:
        for height, width in candidate_sizes([frame]):
            assert STRIDE * 2 <= height <= 4096
            assert STRIDE * 2 <= width <= 4096


def test_a_frame_is_enlarged_twice_at_most() -> None:
    assert candidate_sizes([(64, 96)]) == [(128, 192)]
    assert candidate_sizes([(2048, 2448)], (100, 100, 120, 120)) == [(3424, 4096)]  # the aspect of the frame
    assert candidate_sizes([(1000, 1000)], (0, 0, 50, 50)) == [(2000, 2000)]


def test_each_size_once() -> None:
    assert len(set(candidate_sizes([(512, 512)], None, (65536, 65537)))) == 1
