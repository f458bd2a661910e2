"""ONNX backbones as people have them: what exporters write, what editors leave, and files that are none.

The patches of each must be those that come of the features of the original file, run by ONNX Runtime.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the export needs onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import edge_ad.engines  # noqa: E402
from edge_ad.engines import Models, installed_engines, open_engine, quietly  # noqa: E402
from edge_ad.errors import BackboneError  # noqa: E402
from export.graph import build_graph  # noqa: E402
from export.network import open_network, patches_of  # noqa: E402
from export.onnx_file import read_onnx  # noqa: E402
from export.options import Options  # noqa: E402
from tests.tiny import write_backbone  # noqa: E402

MEAN, STD = (0.485, 0.4, 0.3), (0.229, 0.31, 0.4)
LAYERS = ("fine", "coarse")
SIZE = (64, 48)
Model = onnx.ModelProto


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return onnx.load(str(write_backbone(tmp_path / "b.onnx")))


def image_of(tensor: np.ndarray) -> np.ndarray:
    """(1, 3, H, W) float32 RGB, normalised, of the tensor that the runtime gives."""
    image = (tensor[..., ::-1].astype(np.float64) / 255 - MEAN) / STD
    return image.transpose(0, 3, 1, 2).astype(np.float32)


def assert_parity(original: Model, *, rtol: float = 1e-4, channels_last: bool = False) -> None:
    """The patches by each engine are those of the original file's own outputs."""
    if "onnxruntime" not in installed_engines():
        pytest.skip("the original is run by onnxruntime, which is not installed")
    with quietly():
        import onnxruntime as ort
    tensor = np.random.default_rng(0).integers(0, 256, (1, *SIZE, 3), np.uint8)
    image = image_of(tensor)
    graph = build_graph(original, LAYERS, SIZE, MEAN, STD)
    session = ort.InferenceSession(original.SerializeToString(), providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    kind = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}[entry.type]
    given = (image.transpose(0, 2, 3, 1) if channels_last else image).astype(kind)
    maps = [found.astype(np.float32) for found in session.run(list(LAYERS), {entry.name: given})]
    expected = patches_of(maps, graph.grid)
    models = Models(onnx=graph.model.SerializeToString())
    for engine in installed_engines():
        found = open_engine(engine, models, device="CPU", threads=1, precision="f32")(tensor)
        np.testing.assert_allclose(found, expected, atol=rtol * np.abs(expected).max(), err_msg=engine)


# ---------------------------------------------------------------------------------------------- what exporters write


def annotate(model: Model, dims: list[str | int]) -> None:
    for output in model.graph.output:
        output.CopyFrom(helper.make_tensor_value_info(output.name, TensorProto.FLOAT, dims))


def dynamic_axes(model: Model) -> None:
    annotate(model, ["batch", "channels", "height", "width"])
    model.graph.input[0].CopyFrom(
        helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, "height", "width"])
    )


def stale_annotations(model: Model) -> None:
    """Of the size that the network once had."""
    annotate(model, [1, 99, 7, 5])
    model.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, [1, 8, 112, 112]))


def ir_3(model: Model) -> None:
    model.ir_version = 3
    model.opset_import[0].version = 8
    for item in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(item.name, TensorProto.FLOAT, list(item.dims)))


def minus_one(model: Model) -> None:
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", TensorProto.FLOAT, [-1, 3, -1, -1]))
    annotate(model, [-1, -1, -1, -1])


def no_shape(model: Model) -> None:
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", TensorProto.FLOAT, None))


def computed_pads(model: Model) -> None:
    """As TensorFlow's SAME padding comes out where the size is not known: the pads are computed from Shape."""
    model.graph.initializer.extend(
        numpy_helper.from_array(np.array(values, np.int64), name)
        for name, values in (("two", [2]), ("spatial", [2, 3]), ("none", [0, 0]))
    )
    nodes = [
        helper.make_node("Shape", ["image"], ["shape"]),
        helper.make_node("Gather", ["shape", "spatial"], ["extent"]),
        helper.make_node("Mod", ["extent", "two"], ["rest"]),
        helper.make_node("Add", ["rest", "two"], ["room"]),
        helper.make_node("Concat", ["none", "none", "none", "room"], ["pads"], axis=0),
        helper.make_node("Pad", ["image", "pads"], ["padded"]),
    ]
    model.graph.node[0].input[0] = "padded"
    for node in reversed(nodes):
        model.graph.node.insert(0, node)
    annotate(model, ["n", "c", "h", "w"])


def data_dependent(model: Model) -> None:
    """What no shape inference knows: the extent is read from the values of a tensor."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 1], np.float32), "ones"))
    nodes = [
        helper.make_node("NonZero", ["ones"], ["places"]),
        helper.make_node("ReduceSum", ["places"], ["sum"], keepdims=0),
        helper.make_node("Constant", [], ["axes"], value=numpy_helper.from_array(np.array([2], np.int64))),
        helper.make_node("Constant", [], ["flat"], value=numpy_helper.from_array(np.array([1], np.int64))),
        helper.make_node("Reshape", ["sum", "flat"], ["begin"]),
        helper.make_node("Shape", ["image"], ["shape"], start=2, end=3),
        helper.make_node("Slice", ["image", "begin", "shape", "axes"], ["moved"]),
    ]
    model.graph.node[0].input[0] = "moved"
    for node in reversed(nodes):
        model.graph.node.insert(0, node)


def a_branch(model: Model) -> None:
    """An If whose branches read tensors from outside of them, as scripted networks have it."""
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    branches = {}
    for name, op in (("then_branch", "Identity"), ("else_branch", "Neg")):
        out = helper.make_tensor_value_info(f"{name}/out", TensorProto.FLOAT, None)
        nodes = [helper.make_node(op, ["a"], [out.name])]
        branches[name] = helper.make_graph(nodes, name, [], [out])
    place = next(i for i, node in enumerate(model.graph.node) if "a" in node.output)
    model.graph.node.insert(place + 1, helper.make_node("If", ["yes"], ["chosen"], **branches))
    next(node for node in model.graph.node if node.op_type == "Conv" and node.input[0] == "a").input[0] = "chosen"


def newer_operators(model: Model) -> None:
    """Gelu is an operator since opset 20."""
    model.opset_import[0].version, model.ir_version = 21, 10
    next(node for node in model.graph.node if node.op_type == "Relu").op_type = "Gelu"


CHANGES = [
    a_branch, computed_pads, data_dependent, dynamic_axes, ir_3, minus_one, newer_operators, no_shape,
    stale_annotations,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_exporters_write(model: Model, change: Callable[[Model], None]) -> None:
    change(model)
    assert_parity(model)


def test_the_other_engine_finds_shapes_too(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    data_dependent(model)
    found = []
    for engine in installed_engines():
        monkeypatch.setattr(edge_ad.engines, "installed_engines", lambda engine=engine: (engine,))
        found.append(build_graph(model, LAYERS, SIZE, MEAN, STD).grid)
    assert set(found) == {(16, 12)}


def test_channels_last_input(model: Model) -> None:
    """As Keras has it."""
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [-1, -1, -1, 3]))
    model.graph.node.insert(0, helper.make_node("Transpose", ["pixels"], ["image"], perm=[0, 3, 1, 2]))
    assert_parity(model, channels_last=True)


def in_precision(model: Model, kind: int) -> Model:
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    for item in model.graph.initializer:
        item.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(item).astype(dtype), item.name))
    for info in (*model.graph.input, *model.graph.output):
        info.type.tensor_type.elem_type = kind
    return model


def test_half_precision(model: Model) -> None:
    """Computed in float32: ONNX Runtime's own run rounds to half precision after each operator."""
    assert_parity(in_precision(model, TensorProto.FLOAT16), rtol=1e-2)


def test_double_precision(model: Model) -> None:
    """The graph is that of the network in float32; ONNX Runtime has no convolution for the original."""
    expected = build_graph(model, LAYERS, SIZE, MEAN, STD).model
    assert build_graph(in_precision(model, TensorProto.DOUBLE), LAYERS, SIZE, MEAN, STD).model == expected


def test_half_precision_inside(model: Model) -> None:
    """As a converter leaves it that keeps the input and the outputs in float32."""
    for item in model.graph.initializer:
        item.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(item).astype(np.float16), item.name))
    model.graph.node[0].input[0] = "half"
    model.graph.node.insert(0, helper.make_node("Cast", ["image"], ["half"], to=TensorProto.FLOAT16))
    for output in model.graph.output:
        output.type.tensor_type.elem_type = TensorProto.FLOAT16
    assert_parity(model, rtol=1e-2)


# ------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("kind", "dims", "says"),
    [
        (
            TensorProto.UINT8,
            ["n", 3, 64, "w"],
            r"got image: uint8 \(n, 3, 64, w\)\. Export the network without its conversion",
        ),
        (TensorProto.INT64, [1, 3, 64, 64], r"image: int64 \(1, 3, 64, 64\)"),
        (TensorProto.FLOAT, [1, 3, 64], r"image: float \(1, 3, 64\)"),
        (TensorProto.FLOAT, [1, 3, 224, -1], r"--input-size 224,48 and no ROI"),
        (TensorProto.FLOAT, [1, 3, -1, 99], r"--input-size 64,99 and no ROI"),
    ],
)
def test_an_input_that_is_refused_is_named(model: Model, kind: int, dims: list[str | int], says: str) -> None:
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", kind, dims))
    with pytest.raises(BackboneError, match=says):
        build_graph(model, LAYERS, SIZE, MEAN, STD)


def test_a_network_that_no_engine_runs(model: Model) -> None:
    """Where inference cannot know, and the engine fails."""
    data_dependent(model)
    node = next(node for node in model.graph.node if node.op_type == "Reshape")
    node.input[0] = "places"  # (1, 2) into one cell
    with pytest.raises(BackboneError, match=r"layers cannot be found|fit together"):
        build_graph(model, LAYERS, SIZE, MEAN, STD)


def whole(path: Path) -> bytes:
    return write_backbone(path.with_name("whole.onnx")).read_bytes()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (lambda path: b"", "an empty file"),
        (lambda path: b"a text, and no network\n" * 50, "ONNX"),
        (lambda path: whole(path)[:3000], "or a part of one"),
        (lambda path: onnx.ModelProto(ir_version=8).SerializeToString(), "hold no network"),
        (lambda path: b"\x89PNG\r\n\x1a\n" + bytes(500), "another kind of file"),
    ],
    ids=["empty", "text", "truncated", "no-graph", "picture"],
)
def test_files_that_are_no_backbone(tmp_path: Path, data: Callable[[Path], bytes], says: str) -> None:
    path = tmp_path / "mine.onnx"
    path.write_bytes(data(path))
    with pytest.raises(BackboneError, match=f"mine.onnx is not an ONNX file.*{says}"):
        open_network(Options("x", backbone=str(path), layers=LAYERS))


def test_a_file_of_more_than_2_gb(tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    with path.open("wb") as file:
        file.truncate(2**31 + 5)  # sparse
    with pytest.raises(BackboneError, match=r"mine\.onnx is too large.*got 2,147,483,653 bytes"):
        read_onnx(path)


def test_weights_in_a_file_beside(model: Model, tmp_path: Path) -> None:
    """They count in the hash of the weights, and must be there."""
    path = tmp_path / "mine.onnx"
    digests = set()
    for scale in (1, 2):
        item = model.graph.initializer[0]
        item.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(item) * scale, item.name))
        written = onnx.ModelProto()
        written.CopyFrom(model)  # to save a model moves its weights out of it
        onnx.save(written, str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
        read, digest = read_onnx(path)
        assert read.graph.initializer[0].raw_data == item.raw_data
        digests.add(digest)
    assert len(digests) == 2
    data = (tmp_path / "weights.bin").read_bytes()
    for change in (lambda file: file.write_bytes(data[:50]), lambda file: file.unlink()):
        change(tmp_path / "weights.bin")
        with pytest.raises(BackboneError, match=r"weights of the backbone .*mine\.onnx cannot be read"):
            read_onnx(path)


def test_the_hash_of_a_file_is_its_own(tmp_path: Path) -> None:
    path = write_backbone(tmp_path / "mine.onnx")
    assert read_onnx(path)[1] == hashlib.sha256(path.read_bytes()).hexdigest()
