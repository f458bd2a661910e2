"""`Inspector`: batches for Ray Data, Dask and plain pools."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_ad import BundleError, BundleNotFoundError, Runtime, SpecError
from edge_ad.fleet.inspector import COLUMNS, Inspector, failed_columns
from tests.edited import edited
from tests.paths import DATA
from tests.tiny import bad_frame, good_frame


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    paths = []
    for i, frame in enumerate([good_frame(0), bad_frame(1), good_frame(2), cv2.cvtColor(bad_frame(3), 6)]):
        paths.append(str(tmp_path / f"{i}.png"))
        cv2.imwrite(paths[-1], frame)
    return paths


@pytest.mark.parametrize("readers", [0, 1, 3])
def test_paths_and_bytes_give_the_scores_of_inspect(golden: Path, images: list[str], readers: int) -> None:
    runtime = Runtime(golden)
    verdicts = [runtime.inspect(path) for path in images]
    inspect = Inspector(golden, readers=readers)
    by_path = inspect({"path": images, "label": ["a", "b", "c", "d"]})
    by_bytes = inspect({"bytes": [Path(path).read_bytes() for path in images]})
    for answer in (by_path, by_bytes):
        assert answer["score"].tolist() == [verdict.score for verdict in verdicts]
        assert answer["is_anomalous"].tolist() == [verdict.is_anomalous for verdict in verdicts]
        assert answer["error"].tolist() == [""] * 4
        assert {name: column.dtype for name, column in answer.items() if name in COLUMNS} == COLUMNS
    assert by_path["sha256"].tolist() == by_bytes["sha256"].tolist()
    assert by_path["label"] == ["a", "b", "c", "d"]
    assert "bytes" not in by_bytes


def test_a_bundle_of_rgb_frames(golden: Path, images: list[str], tmp_path: Path) -> None:
    """A decoded file is BGR, and an array has the order of the bundle: the answer is that of the file."""
    rgb = edited(golden, tmp_path / "rgb.bundle", frame={"color_order": "rgb"})
    runtime = Runtime(rgb)
    assert Inspector(rgb)({"path": images})["score"].tolist() == [runtime.inspect(path).score for path in images]


def test_bad_images_are_rows(golden: Path, images: list[str], tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "cut.png").write_bytes(Path(images[0]).read_bytes()[:100])
    paths = [
        images[0],
        str(tmp_path / "text.png"),
        str(tmp_path / "none.png"),
        str(tmp_path),
        str(tmp_path / "cut.png"),
    ]
    paths += ["nowhere://a/b.png", "a\0b", images[1]]
    answer = Inspector(golden)({"path": paths})
    assert [bool(error) for error in answer["error"]] == [False, *[True] * 6, False]
    assert np.isnan(answer["score"]).tolist() == [False, *[True] * 6, False]
    assert answer["is_anomalous"].tolist() == [False, *[True] * 7], "what failed is never good"
    assert not answer["found"][1]
    assert "is not an image" in answer["error"][1]
    assert "No such file" in answer["error"][2]
    assert "is truncated" in answer["error"][4]
    assert len(answer["sha256"][4]) == 64
    assert answer["sha256"][2] == ""


def test_a_file_url(golden: Path, images: list[str]) -> None:
    pytest.importorskip("fsspec", reason="URLs need fsspec (the extra fleet)")
    inspect = Inspector(golden)
    by_url = inspect({"path": [f"file://{path}" for path in images]})
    assert by_url["error"].tolist() == [""] * 4
    assert by_url["score"].tolist() == inspect({"path": images})["score"].tolist()
    assert "nothing there" in inspect({"path": [f"file://{images[0]}.none"]})["error"][0]


def test_stacks_are_folders(tmp_path: Path) -> None:
    inspect = Inspector(DATA / "format-4.bundle")
    assert inspect.takes_stacks
    answer = inspect({"path": [str(tmp_path), str(DATA / "good-0.png")], "bytes": [b"a", b"b"]})
    assert all("is no stack" in error for error in answer["error"])
    assert "expected" in inspect({"path": [str(tmp_path)]})["error"][0]


def test_a_broken_bundle_raises_at_once(golden: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError):
        Inspector(tmp_path / "none.bundle")
    (tmp_path / "broken.bundle").write_bytes(golden.read_bytes()[:1000])
    with pytest.raises(BundleError):
        Inspector(tmp_path / "broken.bundle")
    with pytest.raises(SpecError):
        Inspector(golden, threads=0)


def test_another_bundle_at_the_path_is_refused(bundle: Path, golden_roi: Path) -> None:
    inspect = Inspector(bundle)
    bundle.write_bytes(golden_roi.read_bytes())
    with pytest.raises(BundleError, match="another bundle"):
        inspect({"path": []})


@pytest.mark.parametrize("batch", [{}, {"image": ["a"]}, {"path": ["a"], "bytes": [b"a", b"b"]}, {"path": [1]}])
def test_a_batch_that_is_none(golden: Path, batch: dict[str, list[object]]) -> None:
    with pytest.raises(SpecError):
        Inspector(golden)(batch)


def test_one_runtime_in_a_process(golden: Path, images: list[str]) -> None:
    first = Inspector(golden)
    before = first._runtime()
    again = pickle.loads(pickle.dumps(first))
    assert again._runtime() is before
    assert again.open()["threads"] == 1
    assert Inspector(golden, threads=2)._runtime() is not before
    assert len(pickle.dumps(first)) < 1000, "the bundle's path travels, not the bundle"


def test_a_plain_pool(golden: Path, images: list[str]) -> None:
    inspect = Inspector(golden)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        answers = pool.map(inspect, [{"path": images[:2]}, {"path": images[2:]}])
    joined = np.concatenate([answer["score"] for answer in answers])
    assert joined.tolist() == inspect({"path": images})["score"].tolist()


def test_images_whose_worker_died() -> None:
    columns = failed_columns(2, 0.5, "f32", "it died")
    assert list(columns) == list(COLUMNS)
    assert columns["is_anomalous"].tolist() == [True, True]
    assert columns["error"].tolist() == ["it died"] * 2


def test_a_table_of_pandas(golden: Path, images: list[str]) -> None:
    """As Dask gives its partitions."""
    pandas = pytest.importorskip("pandas", reason="pandas is not installed (the extra ray)")
    inspect = Inspector(golden)
    part = pandas.DataFrame({"path": images, "label": list("abcd")}, index=[7, 8, 9, 10])
    found = pandas.DataFrame(inspect(part))
    assert found.index.tolist() == [7, 8, 9, 10]
    assert found["label"].tolist() == list("abcd")
    assert found["score"].tolist() == inspect({"path": images})["score"].tolist()
