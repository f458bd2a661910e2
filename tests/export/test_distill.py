"""export.distill: the student, its ONNX file, and a training that can be stopped."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_ad.errors import BackboneError, DatasetError
from export.options import IMAGENET_MEAN, IMAGENET_STD

onnx = pytest.importorskip("onnx", reason="the export needs onnx")
cv2 = pytest.importorskip("cv2")
torch = pytest.importorskip("torch", reason="distillation needs torch")
pytest.importorskip("torchvision")
ort = pytest.importorskip("onnxruntime")

from export.distill import command as distill  # noqa: E402
from export.distill import training as distill_training  # noqa: E402
from export.distill.images import ImagePool  # noqa: E402
from export.distill.onnx_file import OUTPUTS, save_onnx, student_onnx  # noqa: E402
from export.distill.options import Recipe  # noqa: E402
from export.distill.shape import LAYERS  # noqa: E402
from export.distill.student import TRUNK, Student, make_student  # noqa: E402
from export.graph import build_graph  # noqa: E402

pytestmark = pytest.mark.torch
DIM = 192  # numbers a patch has by the embedded backbone
TINY = Recipe(steps=6, batch=2, size=48, textures=4, seed=3)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """State dicts of both teachers, random but for moved statistics: a ResNet-18 up to layer3, a MobileNetV2."""
    import torchvision

    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("teachers")
    paths = {}
    for name, after in (("mobilenet_v2", ("classifier",)), ("resnet18", ("layer4", "fc"))):
        model = torchvision.models.get_model(name, weights=None)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.05)
                module.running_var.uniform_(0.5, 1)
        state = {key: value for key, value in model.state_dict().items() if not key.startswith(after)}
        paths[name] = folder / f"{name}.pth"
        torch.save(state, paths[name])
    return paths


Teachers = tuple[torch.nn.Module, torch.nn.Module]


@pytest.fixture
def teachers(weights: dict[str, Path]) -> Teachers:
    return _teacher(weights, "mobilenet_v2"), _teacher(weights, "resnet18")


def _teacher(weights: dict[str, Path], name: str, layers: list[str] | None = None) -> torch.nn.Module:
    from export.backbone import torchvision_backbone

    return torchvision_backbone(name, layers, weights[name]).extractor


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    generator = np.random.default_rng(0)
    for i in range(24):
        small = generator.integers(0, 255, (8, 6 + i % 5, 3), np.uint8)
        cv2.imwrite(str(folder / f"{i}.png"), cv2.resize(small, None, fx=12, fy=12))
    return folder


@pytest.fixture
def command(weights: dict[str, Path], photographs: Path, tmp_path: Path) -> Callable[..., list[str]]:
    def build(name: str, *more: str) -> list[str]:
        options = {"steps": TINY.steps, "batch": TINY.batch, "size": TINY.size, "textures": TINY.textures, "seed": 3}
        given = [str(part) for key, value in options.items() for part in (f"--{key}", value)]
        out = str(tmp_path / f"{name}.onnx")
        return [
            str(photographs),
            "--weights",
            str(weights["resnet18"]),
            "--trunk-weights",
            str(weights["mobilenet_v2"]),
            "--out",
            out,
            "--threads",
            "1",
            "--every",
            "2",
            *given,
            *more,
        ]

    return build


def _random_student(seed: int) -> Student:
    torch.manual_seed(seed)
    student = Student((128, 256))
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return student


def _run(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def _axes(seed: int) -> list[np.ndarray]:
    """Of 32, 128, 96 and 256 channels: on half as many axes, times 1, 2, 3 and 4."""
    generator = np.random.default_rng(seed)
    bases = [np.linalg.qr(generator.standard_normal((c, c)))[0] for c in (32, 128, 96, 256)]
    return [(number * basis[: len(basis) // 2]).astype(np.float32) for number, basis in enumerate(bases, 1)]


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (2, 3, 48, 80)])
def test_the_onnx_file_gives_what_the_student_gives(shape: tuple[int, ...]) -> None:
    student = _random_student(0)
    image = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    axes = _axes(0)
    found = _run(student_onnx(student.arrays(), axes), {"image": image})
    with torch.no_grad():
        layers = [layer.numpy() for layer in student(torch.from_numpy(image))]
    given = [np.einsum("kc,nchw->nkhw", rows, layer) for rows, layer in zip(axes, layers, strict=True)]
    for output, mine, both in zip(OUTPUTS, found, (given[:2], given[2:]), strict=True):
        expected = np.concatenate(both, axis=1)
        np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max(), err_msg=output)
        assert all(part.std() > 0.01 for part in both)


@pytest.mark.parametrize(("layers", "dim"), [(OUTPUTS, 256), (LAYERS, 512)])
def test_the_onnx_file_fits_the_backbone_graph(layers: tuple[str, ...], dim: int, tmp_path: Path) -> None:
    save_onnx(student_onnx(_random_student(2).arrays(), _axes(0), {"seed": "2"}), tmp_path / "student.onnx")
    stored = onnx.load(str(tmp_path / "student.onnx"))
    assert {p.key: p.value for p in stored.metadata_props} == {"seed": "2"}
    graph = build_graph(stored, layers, (64, 96), IMAGENET_MEAN, IMAGENET_STD)
    assert (graph.grid, graph.dim) == ((8, 12), dim)
    frame = np.random.default_rng(0).integers(0, 255, (1, 64, 96, 3), np.uint8)
    patches = _run(graph.model, {"frame": frame})[0]
    assert patches.shape == (96, dim)
    assert np.isfinite(patches).all()


def test_the_outputs_keep_the_distances_of_the_layers(teachers: Teachers, photographs: Path) -> None:
    images = ImagePool(photographs, 64, 0, textures=8)
    training = distill_training.Distillation(Recipe(batch=4, size=64), images, teachers, torch.device("cpu"))
    axes = training.axes()
    lengths = []
    for rows in axes:
        lengths.append(np.linalg.norm(rows[0]))
        np.testing.assert_allclose(rows @ rows.T, lengths[-1] ** 2 * np.eye(len(rows)), atol=1e-4 * lengths[-1] ** 2)
    model = student_onnx(training.average.arrays(), axes)
    frame = images.held_out(1)
    found = {}
    for name in (*LAYERS, *OUTPUTS):
        graph = build_graph(model, [name], (64, 64), IMAGENET_MEAN, IMAGENET_STD)
        found[name] = _run(graph.model, {"frame": frame})[0]
    for number, output in enumerate(OUTPUTS):
        pair = slice(2 * number, 2 * number + 2)
        whole = np.hstack([length * found[name] for length, name in zip(lengths[pair], LAYERS[pair], strict=True)])
        long, short = (np.linalg.norm(p[:, None] - p[None], axis=2) for p in (whole, found[output]))
        assert (short <= long * 1.001 + 1e-3).all()
        assert short.sum() > 0.8 * long.sum()


def test_the_embedded_backbone_fits_the_backbone_graph() -> None:
    path = Path(distill.__file__).parents[1] / "models" / "edge_s.onnx"
    assert path.stat().st_size <= 4_000_000
    model = onnx.load(str(path), load_external_data=False)
    assert not any(item.external_data for item in model.graph.initializer)
    generator = np.random.default_rng(0)
    for size in ((256, 256), (96, 160)):
        graph = build_graph(model, OUTPUTS, size, IMAGENET_MEAN, IMAGENET_STD)
        assert (graph.grid, graph.dim) == ((size[0] // 8, size[1] // 8), DIM)
        frame = cv2.resize(generator.integers(0, 255, (12, 12, 3), np.uint8), size[::-1])[None]
        patches = _run(graph.model, {"frame": frame})[0]
        assert np.isfinite(patches).all()
        assert (patches.std(0) > 1e-3).all()


def test_the_trunk_starts_as_the_first_teacher(teachers: Teachers) -> None:
    student = make_student(teachers[0], (128, 256))
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        fine, deep = teachers[0](image).values()
        trunk8, copied8, trunk16, copied16 = student(image)
    torch.testing.assert_close(trunk8, fine, rtol=1e-3, atol=1e-3 * float(fine.abs().max()))
    torch.testing.assert_close(trunk16, deep, rtol=1e-3, atol=1e-3 * float(deep.abs().max()))
    assert copied8.shape == (1, 128, 8, 12)
    assert copied16.shape == (1, 256, 4, 6)


def test_a_first_teacher_of_another_kind_is_refused(weights: dict[str, Path]) -> None:
    with pytest.raises(BackboneError, match="cannot start from the first teacher"):
        make_student(_teacher(weights, "resnet18"), (128, 256))


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_the_trunk_learns_by_its_share(share: float, teachers: Teachers, photographs: Path) -> None:
    recipe = Recipe(trunk=share, steps=4, batch=2, size=48, textures=4)
    images = ImagePool(photographs, recipe.size, recipe.seed, recipe.textures)
    training = distill_training.Distillation(recipe, images, teachers, torch.device("cpu"))
    before = {name: value.clone() for name, value in training.student.state_dict().items()}
    for number in range(2):
        training.advance(training.prepare(images.batch(number, recipe.batch)))
    moved = {name: not torch.equal(value, before[name]) for name, value in training.student.state_dict().items()}
    assert all(moved[name] for name in moved if not name.startswith(TRUNK))
    assert any(moved[name] for name in moved if name.startswith(TRUNK)) == (share > 0)


def test_batches_depend_on_seed_and_number_alone(photographs: Path) -> None:
    pools = [ImagePool(photographs, 32, seed, textures=3) for seed in (0, 0, 1)]
    batches = [pool.batch(5, 6) for pool in pools]
    assert batches[0].shape == (6, 32, 32, 3)
    assert batches[0].dtype == np.uint8
    np.testing.assert_array_equal(batches[0], batches[1])
    assert (batches[0] != batches[2]).any()
    assert (batches[0] != pools[0].batch(6, 6)).any()
    np.testing.assert_array_equal(pools[0].held_out(3), pools[1].held_out(3))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no images"):
        ImagePool(tmp_path, 32, 0, textures=1)


def test_training_resumes_as_if_it_had_not_stopped(
    command: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert distill.main(command("whole")) == 0
    advance = distill_training.Distillation.advance

    def interrupted(self: distill_training.Distillation, batch: distill_training.Batch) -> float:
        if self.step == 3:  # the checkpoint is of step 2
            raise KeyboardInterrupt
        return advance(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(distill_training.Distillation, "advance", interrupted)
        assert distill.main(command("parts")) == 130
    assert distill.main(command("parts", "--resume")) == 0
    states = [torch.load(tmp_path / f"{name}.ckpt", weights_only=True) for name in ("whole", "parts")]
    assert states[0]["step"] == states[1]["step"] == TINY.steps
    for kind in ("student", "average"):
        for name, value in states[0][kind].items():
            assert torch.equal(value, states[1][kind][name]), f"{kind} {name}"
    assert distill.main(command("parts", "--resume")) == 0  # done already: only written once more
    rows = [list(csv.reader((tmp_path / f"{name}.csv").read_text().splitlines())) for name in ("whole", "parts")]
    assert rows[0] == rows[1]
    assert [row[0] for row in rows[0]] == ["step", "2", "4", "6"]
    assert (tmp_path / "whole.onnx").read_bytes() == (tmp_path / "parts.onnx").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        f"{name}.{kind}" for name in ("whole", "parts") for kind in ("ckpt", "csv", "onnx")
    )


def test_the_student_learns(teachers: Teachers, photographs: Path) -> None:
    recipe = Recipe(steps=30, batch=4, size=48, textures=8)
    images = ImagePool(photographs, recipe.size, recipe.seed, recipe.textures)
    training = distill_training.Distillation(recipe, images, teachers, torch.device("cpu"))
    before = training.held_out_loss()
    for number in range(recipe.steps):
        training.advance(training.prepare(images.batch(number, recipe.batch)))
    assert training.held_out_loss() < 0.7 * before


def test_a_checkpoint_of_another_recipe_or_a_broken_one_is_refused(
    command: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert distill.main(command("a")) == 0
    assert distill.main(command("a", "--resume", "--rate", "0.5")) == 2
    assert "another recipe" in capsys.readouterr().err
    (tmp_path / "a.ckpt").write_bytes(b"no checkpoint")
    assert distill.main(command("a", "--resume")) == 2
    assert "cannot read the checkpoint" in capsys.readouterr().err


def test_a_training_starts_from_another_ones_checkpoint(
    command: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert distill.main(command("first")) == 0
    first = str(tmp_path / "first.ckpt")
    assert distill.main(command("second", "--start", first, "--steps", "1", "--trunk", "0", "--rate", "1e-9")) == 0
    states = [torch.load(tmp_path / f"{name}.ckpt", weights_only=True)["average"] for name in ("first", "second")]
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-4, atol=1e-6)
    assert distill.main(command("third", "--start", str(tmp_path / "first.csv"))) == 2
    assert "cannot read the checkpoint" in capsys.readouterr().err
    assert distill.main(command("fourth", "--start", str(tmp_path / "none.ckpt"))) == 2
    state = torch.load(first, weights_only=True)
    del state["average"]["side.bias"]
    torch.save(state, tmp_path / "other.ckpt")
    capsys.readouterr()
    assert distill.main(command("fifth", "--start", str(tmp_path / "other.ckpt"))) == 2
    assert "of another student" in capsys.readouterr().err


def test_a_diverging_training_stops_and_leaves_no_model(
    command: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert distill.main(command("wild", "--rate", "1e30")) == 2
    assert "diverged" in capsys.readouterr().err
    assert not (tmp_path / "wild.onnx").exists()


@pytest.mark.parametrize(("size", "layers"), [(40, None), (56, None), (32, None), (64, ["layer1", "layer2"])])
def test_layers_and_sizes_that_do_not_fit_are_refused(
    weights: dict[str, Path], photographs: Path, size: int, layers: list[str] | None
) -> None:
    pair = _teacher(weights, "mobilenet_v2"), _teacher(weights, "resnet18", layers)
    images = ImagePool(photographs, size, 0, textures=1)
    with pytest.raises(BackboneError, match="strides 8 and 16"):
        distill_training.Distillation(Recipe(size=size, batch=1), images, pair, torch.device("cpu"))


def test_one_cycle_rises_and_falls_to_nothing() -> None:
    rates = [distill_training.one_cycle(step, 100) for step in range(101)]
    assert rates.index(max(rates)) in (4, 5)
    assert max(rates) == pytest.approx(1)
    assert rates[:5] == sorted(rates[:5])
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[100] == pytest.approx(0)
