"""The training: it learns to repair, stops early, and goes on from a checkpoint as if never stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the network is trained by torch")

from edge_ad.errors import BackboneError  # noqa: E402
from export.autoencoder.recipe import Recipe  # noqa: E402
from export.autoencoder.training import Training, train, usual_normals  # noqa: E402
from export.autoencoder.unet import pixel_errors  # noqa: E402
from tests.export.autoencoder.made import dome  # noqa: E402
from tests.tiny import good_frame  # noqa: E402

pytestmark = pytest.mark.torch
TINY = Recipe(steps=6, width=4, batch=2, every=2, seed=5)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.stack([good_frame(seed, 32) for seed in range(6)])


def trained(recipe: Recipe, pictures: np.ndarray, checkpoint: Path | None = None) -> Training:
    training = Training(recipe, pictures, CPU)
    train(training, checkpoint)
    return training


def same(a: Training, b: Training) -> bool:
    return all((value == b.arrays()[name]).all() for name, value in a.arrays().items()) and a.curve == b.curve


def test_the_seed_decides(pictures: np.ndarray) -> None:
    first = trained(TINY, pictures)
    assert same(first, trained(TINY, pictures))
    assert not same(first, trained(replace(TINY, seed=6), pictures))


def test_the_seed_decides_of_normal_maps_too() -> None:
    maps = as_tensors([dome(32, turn=0.1 * number) for number in range(6)])
    first, again = (trained(replace(TINY, normals=True), maps) for _ in range(2))
    assert first.settle() == again.settle()
    assert same(first, again)


@pytest.mark.parametrize("stop", [3, 4, 5])
def test_a_killed_training_goes_on_as_if_never_stopped(
    pictures: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    kept, advance = tmp_path / "x.ckpt", Training.advance

    def stopped(self: Training, batch: object) -> None:
        if self.step == stop:
            raise SystemError("killed")
        advance(self, batch)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Training, "advance", stopped)
        with pytest.raises(SystemError):
            trained(TINY, pictures, kept)
    again = Training(TINY, pictures, CPU)
    assert again.load(kept)
    assert again.step == stop // 2 * 2
    train(again, kept)
    assert same(again, trained(TINY, pictures))


def test_ctrl_c_says_where_it_goes_on(
    pictures: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    advance = Training.advance

    def stopped(self: Training, batch: object) -> None:
        if self.step == 3:
            raise KeyboardInterrupt
        advance(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(Training, "advance", stopped)
    with pytest.raises(KeyboardInterrupt):
        trained(TINY, pictures, tmp_path / "x.ckpt")
    assert f"the same command goes on from step 2: {tmp_path / 'x.ckpt'}" in capsys.readouterr().err


def test_a_checkpoint_of_another_training_is_not_used(pictures: np.ndarray, tmp_path: Path) -> None:
    kept = tmp_path / "x.ckpt"
    trained(TINY, pictures, kept)
    assert Training(TINY, pictures, CPU).load(kept)
    for other in (Training(replace(TINY, width=5), pictures, CPU), Training(TINY, pictures[1:], CPU)):
        assert not other.load(kept)
        assert other.step == 0


def test_a_file_that_is_no_checkpoint_is_named(pictures: np.ndarray, tmp_path: Path) -> None:
    kept = tmp_path / "x.ckpt"
    for content in (b"", b"my own notes", b"PK\3\4" + bytes(64)):
        kept.write_bytes(content)
        with pytest.raises(BackboneError, match=r"cannot read the checkpoint .*x\.ckpt.*Move that file away"):
            Training(TINY, pictures, CPU).load(kept)
        assert kept.read_bytes() == content


@pytest.mark.parametrize(
    ("name", "value"), [("network", {}), ("best", {}), ("optimiser", {}), ("step", "x"), ("curve", 5), ("losses", None)]
)
def test_a_checkpoint_that_was_changed_is_named(pictures: np.ndarray, tmp_path: Path, name: str, value: object) -> None:
    kept = tmp_path / "x.ckpt"
    Training(TINY, pictures, CPU).save(kept)
    torch.save({**torch.load(kept, weights_only=True), name: value}, kept)
    with pytest.raises(BackboneError, match="cannot read the checkpoint"):
        Training(TINY, pictures, CPU).load(kept)


def test_it_stops_when_nothing_is_gained(pictures: np.ndarray) -> None:
    still = trained(replace(TINY, steps=1000, rate=0.0, patience=3), pictures)
    assert still.step == 2 * (1 + 3)
    assert still.done


@pytest.mark.parametrize("count", [1, 3, 4, 6])
def test_few_pictures_are_enough(pictures: np.ndarray, count: int) -> None:
    assert trained(replace(TINY, steps=2), pictures[:count]).step == 2


def test_a_loss_that_is_no_number_is_an_error(pictures: np.ndarray) -> None:
    nothing = np.full(pictures.shape, np.nan, np.float32)
    with pytest.raises(BackboneError, match="diverged"):
        trained(replace(TINY, spoilt=0.0, normals=True), nothing)


def as_tensors(normals: list[np.ndarray]) -> np.ndarray:
    """As an engine takes them."""
    return np.float32(127.5) * (np.stack(normals) + 1)


def test_the_usual_normals_have_length_1_or_are_none() -> None:
    maps = [dome(32, turn=0.1 * number) for number in range(6)]
    usual = usual_normals(as_tensors(maps))
    assert usual.shape == (1, 32, 32, 3)
    there = np.linalg.norm(maps[0], axis=2) > 0
    assert 0 < there.sum() < there.size
    np.testing.assert_allclose(np.linalg.norm(usual[0], axis=2), there, atol=1e-5)
    mean = np.mean(maps, axis=0)[16, 16]
    np.testing.assert_allclose(usual[0, 16, 16], mean / np.linalg.norm(mean), atol=1e-5)


def given_back(training: Training, maps: np.ndarray) -> np.ndarray:
    """(N, H, W, 3) normals by the best weights."""
    training.network.load_state_dict(training.best)
    with torch.no_grad():
        pictures = torch.from_numpy(maps / np.float32(127.5) - 1).permute(0, 3, 1, 2)
        return training.network(pictures).permute(0, 2, 3, 1).numpy()


def tilted(degrees: float) -> np.ndarray:
    """A dome that lies otherwise: all normals are turned."""
    angle = np.radians(degrees)
    turned = np.array([[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]])
    return (dome(32) @ turned.T).astype(np.float32)


def test_before_the_training_the_usual_normals_are_given_back() -> None:
    maps = as_tensors([tilted(turn) for turn in (-4, 0, 4, 8)])
    training = Training(replace(TINY, normals=True), maps, CPU)
    found = given_back(training, maps)
    usual = training.network.usual
    assert usual is not None
    np.testing.assert_allclose(found, np.broadcast_to(usual.permute(0, 2, 3, 1), found.shape), atol=1e-6)


def test_what_unseen_pictures_confirm_counts_and_what_they_do_not_is_left_out() -> None:
    """How a part is tilted is seen coarsely, so that counts. What each capture has for itself does not."""
    recipe = replace(TINY, steps=120, width=6, every=30, batch=4, normals=True, rate=4e-3)
    tilts = as_tensors([tilted(turn) for turn in np.linspace(-12, 12, 12)])
    training = trained(recipe, tilts)
    assert (training.settle() or 0) > 0
    random = np.random.default_rng(0)
    rough = [dome(32) + np.float32(0.2) * random.standard_normal((32, 32, 3), dtype=np.float32) for _ in range(12)]
    alone = trained(replace(recipe, steps=4, every=4), as_tensors(rough))
    alone.best["leave.weight"] += 0.2 * torch.randn(alone.best["leave.weight"].shape)  # it adds what nothing confirms
    assert alone.settle() == 0
    usual = alone.network.usual
    assert usual is not None
    found = given_back(alone, as_tensors(rough))
    np.testing.assert_allclose(found, np.broadcast_to(usual.permute(0, 2, 3, 1), found.shape), atol=1e-6)


def test_of_pictures_everything_counts(pictures: np.ndarray) -> None:
    training = trained(TINY, pictures)
    before = training.arrays()
    assert training.settle() is None
    assert all((value == before[name]).all() for name, value in training.arrays().items())


def test_normals_are_learned_and_a_bump_stands_out() -> None:
    maps = as_tensors([dome(32, turn=0.1 * number) for number in range(6)])
    training = trained(replace(TINY, steps=60, width=6, every=30, batch=4, normals=True, rate=4e-3), maps)
    training.network.load_state_dict(training.best)

    def error(normals: np.ndarray) -> np.ndarray:
        picture = torch.from_numpy(normals).permute(2, 0, 1)[None]
        with torch.no_grad():
            return pixel_errors(picture, training.network(picture))[0][0, 0].numpy()

    above = error(dome(32, bump=True, turn=0.25)) - error(dome(32, turn=0.25))
    y, x = np.unravel_index(int(above.argmax()), above.shape)
    assert abs(y - 0.45 * 32) <= 4
    assert abs(x - 0.6 * 32) <= 4
