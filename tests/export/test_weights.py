"""Files of weights that are no state dict of ordinary numbers: nothing of them is run, and our own error says so."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="a torchvision backbone needs torch")
torchvision = pytest.importorskip("torchvision", reason="a torchvision backbone needs torchvision")
pytest.importorskip("onnx", reason="the export needs onnx")

from edge_ad.errors import BackboneError  # noqa: E402
from export.backbone import torchvision_backbone  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return torchvision.models.resnet18(weights=None).state_dict()


def saved(path: Path, value: object) -> Path:
    torch.save(value, path)
    return path


class Harmful:
    """Makes the file "run" in the working folder when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return (Path.touch, (Path("run"),))


# pickle: pops from an empty list; calls what torch allows with too few arguments
@pytest.mark.parametrize("code", [b"\x80\x02e.", b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(tR."])
def test_a_pickle_with_broken_instructions(tmp_path: Path, code: bytes) -> None:
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x/data.pkl", code)
        file.writestr("x/version", b"3\n")
        file.writestr("x/byteorder", b"little")
    with pytest.raises(BackboneError, match=r"x\.pth is not a state dict"):
        torchvision_backbone("resnet18", None, path)


def test_no_remedy_of_torch_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's own text tells how to run the code in such a file."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BackboneError, match="nothing of it was run") as caught:
        torchvision_backbone("resnet18", None, saved(tmp_path / "x.pth", Harmful()))
    assert "weights_only" not in str(caught.value)
    assert not Path("run").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda tensor: tensor.to_sparse(),
        lambda tensor: tensor.to("meta"),
        lambda tensor: tensor.to(torch.complex64),
        lambda tensor: tensor.to(torch.float8_e4m3fn),
        lambda tensor: tensor.to(torch.int64),
        lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8),
        lambda tensor: torch.nested.nested_tensor([tensor, tensor]),
    ],
    ids=["sparse", "meta", "complex", "float8", "int", "quantised", "nested"],
)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_weights_that_are_no_dense_floats(
    tmp_path: Path, state: dict[str, torch.Tensor], change: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    other = {**state, "bn1.weight": change(state["bn1.weight"])}
    with pytest.raises(BackboneError, match=r"expected dense tensors.*bn1\.weight"):
        torchvision_backbone("resnet18", None, saved(tmp_path / "other.pth", other))
    torchvision_backbone("resnet18", None, saved(tmp_path / "half.pth", {k: v.half() for k, v in state.items()}))
