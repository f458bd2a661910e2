"""What the page shows of a capture: the verdict that `Runtime` gives, at the threshold of the page, or an error."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_ad import BundleNotFoundError, Runtime
from edge_ad.demo.looking import SHOWN_SIDE, Inspector, Refused, Seen, View, thumbnail, view
from edge_ad.evaluation.pictures import Style
from edge_ad.runtime import Runtime as Opened
from tests.edited import pointed
from tests.frames.photometric.made import write_stack
from tests.paths import DATA
from tests.stacks import stack
from tests.tiny import bad_frame, good_frame, picture

STYLE = Style()


@pytest.fixture(scope="module")
def golden_page(golden: Path) -> Inspector:
    return Inspector(golden, threads=1)


def seen(page: Inspector, *files: Path) -> Seen:
    found = page.inspect(files, "a name", page.first)
    assert isinstance(found, Seen), found
    return found


def why(page: Inspector, *files: Path) -> str:
    """Why there is no verdict; and the page says so, in no other words, and shows no picture."""
    found = page.inspect(files, "a name", page.first)
    assert isinstance(found, Refused)
    shown = view(found, 1.0, STYLE, page.manifest)
    assert (shown.picture, shown.overlay, shown.heat, shown.reconstruction, shown.facts) == (None,) * 4 + ("",)
    assert "NO VERDICT" in shown.card
    assert "GOOD" not in shown.card
    assert "Traceback" not in found.why
    return found.why


def test_the_verdict_is_that_of_the_runtime(golden: Path, golden_page: Inspector, tmp_path: Path) -> None:
    path = picture(tmp_path / "bad.png", bad_frame(2001))
    found = seen(golden_page, path)
    wanted = Runtime(golden, threads=1).inspect(path)
    assert (found.verdict.score, found.verdict.threshold) == (wanted.score, wanted.threshold)
    np.testing.assert_array_equal(found.picture, cv2.imread(str(path)))
    assert found.reconstruction is None


def test_the_threshold_of_the_page(golden: Path, golden_page: Inspector, tmp_path: Path) -> None:
    """Changes what is said, as a Runtime with that threshold would say it; and not what was seen."""
    path = picture(tmp_path / "bad.png", bad_frame(2001))
    found = seen(golden_page, path)
    plain = view(found, 1.0, STYLE, golden_page.manifest)
    assert "ANOMALOUS" in plain.card
    assert "another one on this page" not in plain.facts
    higher = view(found, 3.0, STYLE, golden_page.manifest)
    assert "GOOD" in higher.card
    assert f"{found.verdict.threshold:.4f} in the bundle, another one on this page" in higher.facts
    assert found.verdict.is_anomalous  # it is as it was
    lower = found.verdict.at_threshold(0.5 * found.verdict.threshold)
    wanted = Runtime(golden, threads=1, threshold=0.5 * found.verdict.threshold).inspect(path)
    assert lower.pixel_threshold == wanted.pixel_threshold
    np.testing.assert_array_equal(lower.mask, wanted.mask)


def test_the_knobs_change_the_overlay_alone(golden_page: Inspector, tmp_path: Path) -> None:
    found = seen(golden_page, picture(tmp_path / "bad.png", bad_frame(2001)))
    plain, faint = (view(found, 1.0, style, golden_page.manifest) for style in (STYLE, Style(alpha_max=0.0)))
    assert plain.overlay is not None
    assert faint.overlay is not None
    assert not np.array_equal(plain.overlay, faint.overlay)
    np.testing.assert_array_equal(plain.picture, faint.picture)
    assert plain.card == faint.card


def test_large_pictures_are_sent_smaller(golden_page: Inspector, tmp_path: Path) -> None:
    path = picture(tmp_path / "bad.png", cv2.resize(bad_frame(2001), (2000, 1500)))
    shown = view(seen(golden_page, path), 1.0, STYLE, golden_page.manifest)
    assert {each.shape for each in (shown.picture, shown.overlay, shown.heat) if each is not None} == {(960, 1280, 3)}
    assert SHOWN_SIDE == 1280
    tall = thumbnail(np.zeros((100, 20, 3), np.uint8), 50)
    assert tall.shape == (50, 50, 3)
    assert not tall[:, 20:30].any()
    assert (tall[:, [0, -1]] == 238).all()


def test_an_autoencoder_shows_how_it_should_be(autoencoder: Path, tmp_path: Path) -> None:
    page = Inspector(autoencoder, threads=1)
    assert page.reconstructs
    found = seen(page, picture(tmp_path / "bad.png", bad_frame(7)))
    shown = view(found, 1.0, STYLE, page.manifest)
    assert shown.reconstruction is not None
    assert shown.heat is not None
    assert shown.reconstruction.shape == shown.heat.shape == (64, 64, 3)
    assert np.abs(shown.reconstruction.astype(int) - found.picture).max() > 60  # the scratch is repaired


def test_a_stack_in_files_or_in_a_folder(tmp_path: Path) -> None:
    """A browser sends the files in any order."""
    page = Inspector(DATA / "format-4.bundle", threads=1)
    assert page.takes_stacks
    names = ["light 10.png", "light 9.png", "light 2.png", "light 1.png", "light 4.png", "light 3.png"]
    pictures = stack(3001, dent=True)
    order = [3, 2, 5, 4, 1, 0]  # of the names as people count
    named = {name: pictures[order.index(i)] for i, name in enumerate(names)}
    folder = write_stack(tmp_path / "part", list(named.values()), list(named))
    files = [folder / name for name in names]
    scores = {seen(page, *given).verdict.score for given in ([folder], files, files[::-1])}
    assert scores == {Runtime(DATA / "format-4.bundle", threads=1).inspect(pictures).score}
    assert "expected 6" in why(page, *files[:4])
    normals = view(seen(page, folder), 1.0, STYLE, page.manifest).picture
    assert normals is not None
    assert normals.shape == (64, 64, 3)


def test_what_is_no_image_has_no_verdict(golden_page: Inspector, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not an image")
    assert why(golden_page, text).startswith("notes.txt ")  # and not the folder in which it is kept
    deep = picture(tmp_path / "deep.png", good_frame(1).astype(np.uint16) * 257)
    assert "deep.png" in why(golden_page, deep)
    cut = tmp_path / "cut.png"
    cut.write_bytes(picture(tmp_path / "whole.png", good_frame(1)).read_bytes()[:-20])
    assert "cut.png" in why(golden_page, cut)
    assert why(golden_page, tmp_path / "gone.png").startswith("cannot read gone.png")
    assert "one picture at a time" in why(golden_page, text, text)


def test_a_fault_is_no_verdict(golden_page: Inspector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError("somewhere")

    monkeypatch.setattr(Opened, "inspect", fails)
    assert why(golden_page, picture(tmp_path / "a.png", good_frame(1))).startswith("unexpected ZeroDivisionError")


def test_operating_points(golden: Path, tmp_path: Path) -> None:
    bundle = pointed(golden, tmp_path / "two.bundle", {"twice": "f32"}, scale=2.0)
    page = Inspector(bundle, threads=1)
    assert (page.first, set(page.points)) == ("f32", {"f32", "twice"})
    path = picture(tmp_path / "bad.png", bad_frame(2001))
    one, other = (page.inspect([path], "a", point) for point in ("f32", "twice"))
    assert isinstance(one, Seen)
    assert isinstance(other, Seen)
    assert other.verdict.point == "twice"
    assert other.verdict.threshold == 2 * one.verdict.threshold
    missing = page.inspect([path], "a", "int4")
    assert isinstance(missing, Refused)


def test_a_bundle_that_is_replaced_meanwhile(golden: Path, autoencoder: Path, tmp_path: Path) -> None:
    """Verdicts stay those of the bundle that was opened, or an error says what happened."""
    bundle = pointed(golden, tmp_path / "two.bundle", {"twice": "f32"})
    page = Inspector(bundle, threads=1)
    path = picture(tmp_path / "bad.png", bad_frame(2001))
    before = seen(page, path).verdict.score
    shutil.copy(pointed(golden, tmp_path / "other.bundle", {"twice": "f32"}, scale=3.0), bundle)
    assert seen(page, path).verdict.score == before
    found = page.inspect([path], "a", "twice")
    assert isinstance(found, Refused)
    assert "was replaced while the page was open" in found.why
    assert "Start edge-ad demo again" in found.why


def test_two_tabs_at_once(golden: Path, tmp_path: Path) -> None:
    page = Inspector(pointed(golden, tmp_path / "two.bundle", {"twice": "f32"}, scale=2.0), threads=1)
    paths = [picture(tmp_path / f"{i}.png", bad_frame(2000 + i)) for i in range(4)]
    wanted = [seen(page, path).verdict.score for path in paths]
    asked = [(path, point) for path in paths for point in ("f32", "twice")]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda given: page.inspect([given[0]], "a", given[1]), asked))
    assert [each.verdict.score for each in found if isinstance(each, Seen)] == [s for s in wanted for _ in range(2)]


def test_a_part_that_is_not_found(tmp_path: Path) -> None:
    page = Inspector(DATA / "format-3.bundle", threads=1)
    noise = np.random.default_rng(3).integers(0, 255, (64, 64, 3), np.uint8)
    found = seen(page, picture(tmp_path / "noise.png", noise))
    for factor in (0.01, 1.0, 3.0):
        card = view(found, factor, STYLE, page.manifest).card
        assert "NOT FOUND" in card
        assert "rejected at every threshold" in card


def test_nothing_yet(golden_page: Inspector) -> None:
    shown = view(None, 1.0, STYLE, golden_page.manifest)
    assert shown == View(shown.card, "")
    assert "upload an image file" in shown.card


def test_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError):
        Inspector(tmp_path / "none.bundle")
