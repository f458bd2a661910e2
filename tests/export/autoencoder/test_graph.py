"""The graph of an autoencoder is the network that torch trains, for photographs and for normal maps."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the export needs onnx")
torch = pytest.importorskip("torch", reason="the network is trained by torch")

from edge_ad.engines import Engine, Models, open_engine  # noqa: E402
from edge_ad.errors import BackboneError, EngineError  # noqa: E402
from export.autoencoder.graph import error_graph  # noqa: E402
from export.autoencoder.network import autoencoder  # noqa: E402
from export.autoencoder.shape import blank  # noqa: E402
from export.autoencoder.training import usual_normals  # noqa: E402
from export.autoencoder.unet import UNet, cell_errors  # noqa: E402
from export.options import Options  # noqa: E402
from export.relief import relief_patches  # noqa: E402
from tests.export.autoencoder.made import dome  # noqa: E402

pytestmark = pytest.mark.torch
WIDTH, SIZE = 4, (32, 48)


def network(normals: bool) -> tuple[UNet, dict[str, np.ndarray]]:
    torch.manual_seed(3)
    found = UNet(WIDTH, torch.from_numpy(usual()) if normals else None)
    if normals:  # as it begins, it adds nothing
        torch.nn.init.normal_(found.leave.weight, std=0.1)
    return found, {name: value.numpy() for name, value in found.state_dict().items()}


def usual() -> np.ndarray:
    normals = usual_normals(np.float32(127.5) * (dome(SIZE[1], turn=1)[None, : SIZE[0]] + 1))
    return np.ascontiguousarray(normals.transpose(0, 3, 1, 2))


def models(engine: str, normals: bool = False) -> Models:
    data = error_graph(network(normals)[1], SIZE, normals=normals).model.SerializeToString()
    if engine == "onnxruntime":
        return Models(onnx=data)
    from export.openvino_ir import to_ir

    return Models(ir=to_ir(data))


def opened(engine: str, given: Models, output: int = 0) -> Engine:
    return open_engine(engine, given, device="CPU", threads=1, precision="f32", output=output)


def frame(normals: bool) -> np.ndarray:
    if normals:
        return np.float32(127.5) * (dome(SIZE[1])[None, : SIZE[0]] + 1)
    return np.random.default_rng(0).integers(0, 256, (1, *SIZE, 3), dtype=np.uint8)


def by_torch(tensor: np.ndarray, normals: bool) -> tuple[np.ndarray, np.ndarray]:
    values = tensor / np.float32(127.5) - 1 if normals else tensor / np.float32(255)
    picture = torch.from_numpy(values.astype(np.float32)).permute(0, 3, 1, 2)
    with torch.no_grad():
        found = network(normals)[0](picture)
        if normals:  # OpenCV in place of torch
            return relief_patches((picture - found)[0].permute(1, 2, 0).numpy()), found.numpy()
        errors = cell_errors(picture, found)[0].permute(1, 2, 0).reshape(-1, 2)
    return errors.numpy(), found.numpy()


@pytest.mark.parametrize("normals", [False, True], ids=["photograph", "normals"])
def test_both_engines_give_what_torch_gives(engine: str, normals: bool) -> None:
    given, tensor = models(engine, normals), frame(normals)
    errors, picture = by_torch(tensor, normals)
    assert errors.shape == ((SIZE[0] * SIZE[1] // 4, 9) if normals else (SIZE[0] * SIZE[1] // 16, 2))
    np.testing.assert_allclose(opened(engine, given)(tensor), errors, atol=5e-3 if normals else 2e-5)  # degrees
    found = opened(engine, given, output=1)(tensor)
    assert found.shape == (1, 3, *SIZE)
    np.testing.assert_allclose(found, picture, atol=2e-5)


def test_reconstructed_normals_have_length_1_or_are_none(engine: str) -> None:
    """None are where no good picture has any."""
    found = opened(engine, models(engine, normals=True), output=1)(frame(True))
    there = np.linalg.norm(usual(), axis=1) > 0
    assert 0 < there.sum() < there.size
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), there, atol=1e-5)


def test_the_network_of_normal_maps_is_a_switch() -> None:
    """Frames are float32 in place of u8."""
    options = Options("part", method="autoencoder", width=WIDTH)
    kinds = {}
    for normals in (False, True):
        found = autoencoder(options, normals=normals)
        graph = dataclasses.replace(found, arrays=network(normals)[1]).graph(SIZE, floats=normals)
        kinds[normals] = graph.model.graph.input[0].type.tensor_type.elem_type
        taught = dataclasses.replace(found, arrays=network(normals)[1])
        reference = taught.reference_patches(frame(normals), graph)
        np.testing.assert_allclose(reference, by_torch(frame(normals), normals)[0], atol=1e-3 if normals else 1e-6)
    assert kinds == {False: onnx.TensorProto.UINT8, True: onnx.TensorProto.FLOAT}


def test_the_same_weights_give_the_same_bytes() -> None:
    first, again = (error_graph(network(False)[1], SIZE).model.SerializeToString() for _ in range(2))
    assert first == again


def test_an_output_that_is_not_there_is_an_error(engine: str, tiny_bundle: object) -> None:
    from edge_ad.bundle.file import Bundle
    from edge_ad.bundle.models import models_of

    with Bundle.open(tiny_bundle) as bundle, pytest.raises(EngineError):  # type: ignore[arg-type]
        opened(engine, models_of(bundle), output=1)


@pytest.mark.parametrize("normals", [False, True], ids=["photograph", "normals"])
def test_zeros_have_the_shapes_of_the_network(normals: bool) -> None:
    arrays, zeros = network(normals)[1], blank(WIDTH, SIZE, normals)
    assert {name: value.shape for name, value in zeros.items()} == {n: a.shape for n, a in arrays.items()}


def test_fine_detail_of_a_normal_map_does_not_come_through(engine: str) -> None:
    """What changes no mean of 8 x 8 pixels changes nothing of the reconstruction."""
    tensor, given = frame(True), models(engine, normals=True)
    fine = tensor.copy()
    fine[:, :, 0::2] += 20
    fine[:, :, 1::2] -= 20
    before, after = (opened(engine, given, output=1)(each) for each in (tensor, fine))
    np.testing.assert_allclose(after, before, atol=1e-5)
    coarse = tensor.copy()
    coarse[:, 8:16, 8:16] += 20
    assert np.abs(opened(engine, given, output=1)(coarse) - before).max() > 1e-3


@pytest.mark.parametrize("size", [(40, 48), (32, 50)])
def test_a_size_that_cannot_be_halved_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(BackboneError, match=r"each a multiple of 16; got .*--input-size"):
        error_graph(blank(WIDTH, size, False), size)
