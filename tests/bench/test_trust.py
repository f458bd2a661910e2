"""`python -m bench.trust`: real defects are scored as the evidence's are, and its table says what an export takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the export needs onnx")
pytest.importorskip("hnswlib", reason="the export needs hnswlib")

from bench import trust
from bench.sight.sets import open_set
from edge_ad.native import Pool
from edge_ad.spec import Size
from export import power
from export.choose.choice import USUAL_LOCAL, Candidate
from export.choose.evidence import LEAST_FOR_TRIAL
from tests.tiny import write_category

SMALL, LARGE = (48, 48), (64, 64)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a set of as many good images as a trial takes."""
    folder = tmp_path_factory.mktemp("data")
    write_category(folder / "part", goods=LEAST_FOR_TRIAL, tests=3)
    return folder


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small sizes and few defects: a second."""
    monkeypatch.setattr(trust, "AREAS", (48**2, 64**2))
    monkeypatch.setattr(trust, "MORE_AREAS", (32**2,))
    monkeypatch.setattr(power, "SIZES", (0.05, 0.2))
    monkeypatch.setattr(power, "CONTRASTS", (0.15, 0.4))


@pytest.mark.usefixtures("few")
def test_a_line_for_each_set_and_seed(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trust.main([str(data), "--sets", "part", "--seeds", "0", "1"]) == 0
    _, *lines = capsys.readouterr().out.splitlines()
    cells = [line.split() for line in lines]
    assert [row[:3] for row in cells] == [["part", "0", "24"], ["part", "1", "24"]]  # (3 sizes + 3 pairs) * 4
    for row in cells:
        correlation, taken, usual, best, median, worst = map(float, row[3:])
        assert -1 <= correlation <= 1
        assert worst <= min(taken, usual, median)
        assert max(taken, usual, median) <= best
        assert best > 0.9  # a bright scratch


@pytest.mark.usefixtures("few")
def test_test_images_are_scored_as_held_out_good_images_are(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A good image that is given as a test image gets from the fold that holds it out what the evidence has of it."""
    sizes = []

    def checked(stages, paths, shown, drawn, coresets, settings, known):  # type: ignore[no-untyped-def]
        found = seen(stages, paths, shown, drawn, coresets, settings, known)
        real = trust.real_scores(coresets, stages, paths, Pool(1))
        for local in trust.EACH_LOCAL:
            held_out = [real[local][fold, held] for fold, (_, held) in enumerate(coresets.splits.pairs)]
            np.testing.assert_array_equal(np.concatenate(held_out), found[local].good)
        sizes.append(stages.backbone.input_size)
        return found

    seen = trust.seen
    monkeypatch.setattr(trust, "seen", checked)
    trust.measure(open_set(data / "part"), 0)
    assert sizes == [(32, 32), SMALL, LARGE]


def made(powers: dict[tuple[tuple[Size, ...], float], float], real: list[float], *, has_trials: bool) -> trust.Measured:
    found = [
        Candidate("edge-s", sizes, exponent, USUAL_LOCAL[1], 10.0, power) for (sizes, exponent), power in powers.items()
    ]
    return trust.Measured(found, np.array(real), [SMALL, LARGE], has_trials)


@pytest.mark.parametrize("has_trials", [True, False])
def test_what_an_export_takes(has_trials: bool) -> None:
    usual, other = USUAL_LOCAL[0], USUAL_LOCAL[0] / 2
    powers = {
        ((SMALL,), usual): 0.1,
        ((LARGE,), usual): 0.2,
        ((SMALL, LARGE), usual): 0.3,
        ((SMALL, LARGE), other): 0.5,  # clearly ahead
        (((32, 32),), usual): 0.9,  # a size that no export tries
    }
    measured = made(powers, [0.5, 0.6, 0.7, 0.8, 0.9], has_trials=has_trials)
    taken = "0.8000" if has_trials else "0.7000"  # few images: nothing is tried, and the usual is taken
    assert measured.cells() == ("5", "1.00", taken, "0.7000", "0.9000", "0.7000", "0.5000")


def test_evidence_that_is_wrong_is_told() -> None:
    powers = {((SMALL,), 1.0): 0.9, ((LARGE,), 1.0): 0.5, ((SMALL, LARGE), 1.0): 0.7}
    assert made(powers, [0.6, 0.9, 0.8], has_trials=True).cells()[1:4] == ("-1.00", "0.6000", "0.8000")
