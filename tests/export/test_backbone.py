"""torchvision backbones: weights from files, caches and servers, and their graphs."""

from __future__ import annotations

import hashlib
import http.server
import io
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="a torchvision backbone needs torch")
torchvision = pytest.importorskip("torchvision", reason="a torchvision backbone needs torchvision")
pytest.importorskip("onnx", reason="the export needs onnx")

import export.backbone  # noqa: E402
from edge_ad.engines import Models, open_engine  # noqa: E402
from edge_ad.errors import BackboneError  # noqa: E402
from export.backbone import MIRROR_VARIABLE, torchvision_backbone  # noqa: E402
from export.graph import PatchGraph  # noqa: E402
from export.network import Network, open_network  # noqa: E402
from export.options import Options  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return torchvision.models.resnet18(weights=None).state_dict()


@pytest.fixture(scope="module")
def weights(state: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(state, path)
    return path


def saved(path: Path, value: object) -> Path:
    torch.save(value, path)
    return path


# ------------------------------------------------------------------------------------------------- the file


def test_weights_of_a_file(weights: Path, state: dict[str, torch.Tensor]) -> None:
    backbone = torchvision_backbone("resnet18", None, weights)
    assert backbone.layers == ("layer2", "layer3")
    assert backbone.weights == "resnet18.pth"
    assert backbone.sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    found = backbone.extractor.state_dict()
    assert torch.equal(found["layer3.1.conv2.weight"], state["layer3.1.conv2.weight"])
    assert not any(key.startswith(("layer4", "fc")) for key in found)


@pytest.mark.parametrize("wrapped", [False, True])
def test_keys_behind_the_cut_may_be_missing(tmp_path: Path, state: dict[str, torch.Tensor], wrapped: bool) -> None:
    part = {key: value for key, value in state.items() if not key.startswith(("layer4", "fc"))}
    part = {key: value for key, value in part.items() if not key.endswith("num_batches_tracked")}
    path = saved(tmp_path / "part.pth", {"state_dict": part, "epoch": 3} if wrapped else part)
    assert torchvision_backbone("resnet18", None, path).layers == ("layer2", "layer3")
    with pytest.raises(BackboneError, match=r"missing, first layer4\.") as caught:
        torchvision_backbone("resnet18", ("layer2", "layer4"), path)
    assert "part.pth" in str(caught.value)


def test_keys_before_the_cut_may_not(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    part = {key: value for key, value in state.items() if key != "layer1.0.conv1.weight"}
    with pytest.raises(BackboneError, match=r"1 missing, first layer1\.0\.conv1\.weight"):
        torchvision_backbone("resnet18", None, saved(tmp_path / "part.pth", part))


def test_weights_of_another_network(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    wide = {**state, "layer2.0.conv1.weight": torch.zeros(3, 3)}
    with pytest.raises(BackboneError, match=r"layer2\.0\.conv1\.weight of shape \(128, 64, 3, 3\)"):
        torchvision_backbone("resnet18", None, saved(tmp_path / "wide.pth", wide))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_with_nan(tmp_path: Path, state: dict[str, torch.Tensor], value: float) -> None:
    broken = {**state, "bn1.weight": torch.full((64,), value)}
    with pytest.raises(BackboneError, match="NaN or Inf"):
        torchvision_backbone("resnet18", None, saved(tmp_path / "nan.pth", broken))
    behind = {**state, "fc.bias": torch.full((1000,), value)}  # not used
    torchvision_backbone("resnet18", None, saved(tmp_path / "behind.pth", behind))


TRACE = Path(tempfile.gettempdir()) / "edge-ad-was-here"


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return (Path.touch, (TRACE,))


@pytest.mark.parametrize(
    "value",
    [[1, 2, 3], 3, None, {"a": 1}, torch.zeros(3), {"model": {"a": torch.zeros(1)}}, Harmful()],
    ids=["list", "int", "none", "numbers", "tensor", "nested", "pickle"],
)
def test_what_is_no_state_dict(tmp_path: Path, value: object) -> None:
    with pytest.raises(BackboneError, match=r"x\.pth is not a state dict"):
        torchvision_backbone("resnet18", None, saved(tmp_path / "x.pth", value))
    assert not TRACE.exists()


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"garbage", b"PK\3\4 garbage", b"\x80\x02}q\0.", b"<html>404</html>"),
        *(b"\x80\x02t.", b"\x80\x02\x85.", b"\x80\x02h\x05."),  # pickle that takes what is not there
    ],
)
def test_bytes_that_are_no_state_dict(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(data)
    with pytest.raises(BackboneError, match=r"x\.pth|cover the layers"):
        torchvision_backbone("resnet18", None, path)


def test_an_empty_file_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(b"")
    with pytest.raises(BackboneError, match=r"x\.pth is not a state dict.*got a file that is empty"):
        torchvision_backbone("resnet18", None, tmp_path / "x.pth")


def test_a_truncated_file(tmp_path: Path, weights: Path) -> None:
    path = tmp_path / "cut.pth"
    path.write_bytes(weights.read_bytes()[:1_000_000])
    with pytest.raises(BackboneError, match=r"cut\.pth is not a state dict"):
        torchvision_backbone("resnet18", None, path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"missing\.pth.*Check --weights"):
        torchvision_backbone("resnet18", None, tmp_path / "missing.pth")


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


def test_no_remedy_of_torch_is_passed_on(tmp_path: Path) -> None:
    """torch's own text tells how to run the code in such a file."""
    with pytest.raises(BackboneError, match="nothing of it was run") as caught:
        torchvision_backbone("resnet18", None, saved(tmp_path / "x.pth", Harmful()))
    assert "weights_only" not in str(caught.value)
    assert not TRACE.exists()


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


def test_names(weights: Path) -> None:
    with pytest.raises(BackboneError, match="Did you mean resnet18"):
        torchvision_backbone("resnet_18", None, weights)
    with pytest.raises(BackboneError, match="list_models"):
        torchvision_backbone("qqqqqqqqqq", None, weights)
    with pytest.raises(BackboneError, match=r"no layer layr2.*layer2"):
        torchvision_backbone("resnet18", ("layr2",), weights)
    with pytest.raises(BackboneError, match=r"layer2\.0\.conv1"):
        torchvision_backbone("resnet18", ("layer2.0.konv1",), weights)
    with pytest.raises(BackboneError, match="no layers are known for alexnet"):  # strides are odd
        torchvision_backbone("alexnet", None, weights)


# ----------------------------------------------------------------------------------------------- the server


@pytest.fixture(scope="module")
def served(state: dict[str, torch.Tensor]) -> tuple[str, bytes]:
    """Name and bytes of a weights file as torchvision names them: with the start of its hash."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getvalue()
    return f"resnet18-{hashlib.sha256(data).hexdigest()[:8]}.pth", data


class Server(http.server.ThreadingHTTPServer):
    data: bytes
    name: str
    mode: str
    asked: int


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked += 1
        if self.server.mode == "missing" or self.path != f"/mirror/{self.server.name}":
            self.send_error(404)
            return
        data = b"other" + self.server.data if self.server.mode == "altered" else self.server.data
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if self.server.mode == "cut" else data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(served: tuple[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """A mirror on this machine, torchvision's table with one more file in it, and an empty cache."""
    found = Server(("127.0.0.1", 0), Handler)
    found.name, found.data, found.mode, found.asked = *served, "good", 0
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    choice = SimpleNamespace(url=f"https://download.pytorch.org/models/{found.name}", name="IMAGENET1K_V1")
    table = SimpleNamespace(__members__={"IMAGENET1K_V1": choice})
    monkeypatch.setattr(export.backbone.torchvision.models, "get_model_weights", lambda name: table)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv(MIRROR_VARIABLE, f"http://127.0.0.1:{found.server_address[1]}/mirror/")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


def cache(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "torch").rglob("*") if path.is_file())


def test_a_download_is_kept(server: Server, tmp_path: Path) -> None:
    backbone = torchvision_backbone("resnet18", None, None)
    assert backbone.weights == f"torchvision IMAGENET1K_V1 ({server.name})"
    assert backbone.sha256 == hashlib.sha256(server.data).hexdigest()
    assert cache(tmp_path) == [server.name]
    again = torchvision_backbone("resnet18", None, None)
    assert again.sha256 == backbone.sha256
    assert server.asked == 1


@pytest.mark.parametrize("mode", ["missing", "altered", "cut", "gone", "no URL"])
def test_a_download_that_fails(server: Server, tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    server.mode = mode
    if mode == "gone":
        monkeypatch.setenv(MIRROR_VARIABLE, "http://127.0.0.1:9/")
    if mode == "no URL":
        monkeypatch.setenv(MIRROR_VARIABLE, "mirror.local")
    with pytest.raises(BackboneError, match="cannot download the weights of resnet18") as caught:
        torchvision_backbone("resnet18", None, None)
    for way in ("--weights FILE", str(tmp_path / "torch"), MIRROR_VARIABLE):  # the three ways out
        assert way in str(caught.value)
    assert server.name not in cache(tmp_path)
    if mode in ("altered", "cut"):
        server.mode = "good"
        assert torchvision_backbone("resnet18", None, None).layers  # and the next try is not disturbed


def test_an_interrupted_download(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.move", interrupted)
    with pytest.raises(KeyboardInterrupt):
        torchvision_backbone("resnet18", None, None)
    assert server.name not in cache(tmp_path)
    monkeypatch.undo()


def test_a_cache_that_cannot_be_made(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "file"))
    with pytest.raises(BackboneError, match="cannot download"):
        torchvision_backbone("resnet18", None, None)


def test_a_broken_file_in_the_cache_is_named(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / server.name).write_bytes(b"half a download of another program")
    with pytest.raises(BackboneError, match=server.name):
        torchvision_backbone("resnet18", None, None)


# ------------------------------------------------------------------------------------------------ the graph


@pytest.fixture(scope="module", params=["resnet18", "mobilenet_v2"])
def network_and_graph(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Network, PatchGraph]:
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("graph") / "w.pth"
    saved(path, torchvision.models.get_model(request.param, weights=None).state_dict())
    network = open_network(Options("x", backbone=request.param, weights=path))
    return network, network.graph((64, 80))


def test_the_graph_is_the_network(network_and_graph: tuple[Network, PatchGraph], engine: str) -> None:
    network, graph = network_and_graph
    assert graph.grid == (8, 10)
    opened = open_engine(engine, Models(onnx=graph.model.SerializeToString()), device="CPU", threads=2, precision="f32")
    tensor = np.random.default_rng(0).integers(0, 256, (1, 64, 80, 3), np.uint8)
    expected = network.reference_patches(tensor, graph)
    assert expected is not None
    found = opened(tensor)
    assert found.shape == expected.shape == (80, graph.dim)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "export.backbone")
    with pytest.raises(BackboneError, match=r"pip install 'edge-ad\[export\]'.*--backbone my\.onnx"):
        open_network(Options("x", backbone="resnet18"))
