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
from export.distill.onnx_file import LAYERS, OUTPUTS, SCALES, save_onnx, student_onnx  # noqa: E402
from export.distill.options import Recipe  # noqa: E402
from export.distill.student import Student, Widths, make_student  # noqa: E402
from export.graph import build_graph  # noqa: E402

pytestmark = pytest.mark.torch
TINY = Recipe(steps=6, batch=2, size=48, textures=4, seed=3)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet-18 up to layer3, with random weights."""
    import torchvision

    torch.manual_seed(1)
    model = torchvision.models.resnet18(weights=None)
    state = {k: v for k, v in model.state_dict().items() if not k.startswith(("layer4", "fc"))}
    path = tmp_path_factory.mktemp("teacher") / "teacher.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    generator = np.random.default_rng(0)
    for i in range(24):
        small = generator.integers(0, 255, (8, 6 + i % 5, 3), np.uint8)
        cv2.imwrite(str(folder / f"{i}.png"), cv2.resize(small, None, fx=12, fy=12))
    return folder


@pytest.fixture
def command(weights: Path, photographs: Path, tmp_path: Path) -> Callable[..., list[str]]:
    def build(name: str, *more: str) -> list[str]:
        options = {"steps": TINY.steps, "batch": TINY.batch, "size": TINY.size, "textures": TINY.textures, "seed": 3}
        given = [str(part) for key, value in options.items() for part in (f"--{key}", value)]
        out = str(tmp_path / f"{name}.onnx")
        return [
            str(photographs),
            "--weights",
            str(weights),
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
    generator = np.random.default_rng(seed)
    bases = [np.linalg.qr(generator.standard_normal((c, c)))[0] for c in (128, 256)]
    return [basis[: len(basis) // 2].astype(np.float32) for basis in bases]


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (2, 3, 48, 80)])
def test_the_onnx_file_gives_what_the_student_gives(shape: tuple[int, ...]) -> None:
    student = _random_student(0)
    image = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    axes = _axes(0)
    found = _run(student_onnx(student.arrays(), axes), {"image": image})
    with torch.no_grad():
        layers = student(torch.from_numpy(image))
    for output, mine, layer, rows, scale in zip(OUTPUTS, found, layers, axes, SCALES, strict=True):
        expected = scale * np.einsum("kc,nchw->nkhw", rows, layer.numpy())
        np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max(), err_msg=output)
        assert expected.std() > 0.01


@pytest.mark.parametrize(("layers", "dim"), [(OUTPUTS, 192), (LAYERS, 384)])
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


def test_the_outputs_keep_the_distances_of_the_layers(weights: Path, photographs: Path) -> None:
    from export.backbone import torchvision_backbone

    images = ImagePool(photographs, 64, 0, textures=8)
    teacher = torchvision_backbone("resnet18", None, weights).extractor
    training = distill_training.Distillation(Recipe(batch=4, size=64), images, teacher, torch.device("cpu"))
    axes = training.axes()
    for rows in axes:
        np.testing.assert_allclose(rows @ rows.T, np.eye(len(rows)), atol=1e-5)
    model = student_onnx(training.average.arrays(), axes)
    frame = images.held_out(1)
    for layer, output, scale in zip(LAYERS, OUTPUTS, SCALES, strict=True):
        patches = []
        for name in (layer, output):
            graph = build_graph(model, [name], (64, 64), IMAGENET_MEAN, IMAGENET_STD)
            patches.append(_run(graph.model, {"frame": frame})[0])
        whole, short = (np.linalg.norm(p[:, None] - p[None], axis=2) for p in patches)
        assert (short <= scale * (whole * 1.001 + 1e-4)).all()
        assert short.sum() > 0.8 * scale * whole.sum()
        spreads = patches[1].var(0)
        assert spreads[:8].sum() > spreads[-8:].sum()


def test_the_embedded_backbone_fits_the_backbone_graph() -> None:
    path = Path(distill.__file__).parents[1] / "models" / "edge_s.onnx"
    assert path.stat().st_size <= 4_000_000
    model = onnx.load(str(path), load_external_data=False)
    assert not any(item.external_data for item in model.graph.initializer)
    generator = np.random.default_rng(0)
    for size in ((256, 256), (96, 160)):
        graph = build_graph(model, OUTPUTS, size, IMAGENET_MEAN, IMAGENET_STD)
        assert (graph.grid, graph.dim) == ((size[0] // 8, size[1] // 8), 192)
        frame = cv2.resize(generator.integers(0, 255, (12, 12, 3), np.uint8), size[::-1])[None]
        patches = _run(graph.model, {"frame": frame})[0]
        assert np.isfinite(patches).all()
        assert patches[:, :64].std() > 0.1
        assert patches[:, 64:].std() > 0.1


def test_a_student_as_wide_as_its_teacher_is_its_teacher(weights: Path) -> None:
    from export.backbone import torchvision_backbone

    teacher = torchvision_backbone("resnet18", None, weights).extractor
    whole = make_student(teacher, (128, 256), Widths(64, ((64, 64), (128, 128), (256, 256))))  # nothing pruned
    thin = make_student(teacher, (128, 256))
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, mine, pruned = list(teacher(image).values()), whole(image), thin(image)
    for a, b, c in zip(expected, mine, pruned, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-3, atol=1e-3 * float(a.abs().max()))
        assert c.shape == a.shape
        assert not torch.allclose(c, a, rtol=0.1)


def test_a_teacher_of_another_kind_gives_a_student_with_random_weights() -> None:
    torch.manual_seed(0)
    teacher = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3))
    student = make_student(teacher, (24, 40))
    with torch.no_grad():
        fine, deep = student(torch.randn(1, 3, 32, 32))
    assert fine.shape == (1, 24, 4, 4)
    assert deep.shape == (1, 40, 2, 2)
    assert float(deep.std()) > 0


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


def test_the_student_learns(weights: Path, photographs: Path) -> None:
    from export.backbone import torchvision_backbone

    recipe = Recipe(steps=30, batch=4, size=48, textures=8)
    images = ImagePool(photographs, recipe.size, recipe.seed, recipe.textures)
    teacher = torchvision_backbone("resnet18", None, weights).extractor
    training = distill_training.Distillation(recipe, images, teacher, torch.device("cpu"))
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


def test_a_diverging_training_stops_and_leaves_no_model(
    command: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert distill.main(command("wild", "--rate", "1e30")) == 2
    assert "diverged" in capsys.readouterr().err
    assert not (tmp_path / "wild.onnx").exists()


@pytest.mark.parametrize(("size", "layers"), [(40, None), (56, None), (32, None), (64, ["layer1", "layer2"])])
def test_layers_and_sizes_that_do_not_fit_are_refused(
    weights: Path, photographs: Path, size: int, layers: list[str] | None
) -> None:
    from export.backbone import torchvision_backbone

    teacher = torchvision_backbone("resnet18", layers, weights).extractor
    images = ImagePool(photographs, size, 0, textures=1)
    with pytest.raises(BackboneError, match="strides 8 and 16"):
        distill_training.Distillation(Recipe(size=size, batch=1), images, teacher, torch.device("cpu"))


def test_one_cycle_rises_and_falls_to_nothing() -> None:
    rates = [distill_training.one_cycle(step, 100) for step in range(101)]
    assert rates.index(max(rates)) in (4, 5)
    assert max(rates) == pytest.approx(1)
    assert rates[:5] == sorted(rates[:5])
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[100] == pytest.approx(0)
