"""OpenVINO IR as anomalib exports it becomes a bundle for both engines. Hostile files are refused."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the export needs onnx")
ov = pytest.importorskip("openvino", reason="the IR is written by OpenVINO")

from edge_ad import Runtime, SpecError  # noqa: E402
from edge_ad.engines import installed_engines, quietly, run_once  # noqa: E402
from export.importers.anomalib_ir import claims, read  # noqa: E402
from export.importers.base import Asked  # noqa: E402
from export.importers.command import main  # noqa: E402
from export.importers.openvino_file import numbers, read_ir, whole  # noqa: E402
from export.importers.openvino_operators import to_onnx  # noqa: E402
from tests.export.importers.graphs import THRESHOLD, bank, gaussians, graph, padim_graph, pixels  # noqa: E402
from tests.tiny import SIZE, bad_frame, good_frame, write_category  # noqa: E402


def written(model: onnx.ModelProto, folder: Path, *, half: bool = False) -> Path:
    """The IR of a graph, as anomalib writes it."""
    folder.mkdir(exist_ok=True)
    onnx.save(model, str(folder / "model.onnx"))
    with quietly():
        ov.save_model(ov.convert_model(folder / "model.onnx"), folder / "model.xml", compress_to_fp16=half)
    return folder / "model.xml"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("given")
    write_category(folder / "part", goods=4, tests=1)
    onnx.save(graph(folder, bank(folder)), str(folder / "patchcore.onnx"))
    onnx.save(padim_graph(folder, *gaussians(folder)), str(folder / "padim.onnx"))
    for name in ("patchcore", "padim"):
        written(onnx.load(str(folder / f"{name}.onnx")), folder / name)
    return folder


def imported(given: Path, model: Path, out: Path) -> Path:
    command = [model, "--data", given / "part", "--out", out, "--threads", 1, "--no-graph", "--to", "both"]
    assert main([str(word) for word in command]) == 0
    return out


@pytest.fixture(scope="module")
def bundles(given: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    for name in ("patchcore", "padim"):
        imported(given, given / name / "model.xml", folder / f"{name}.bundle")
    return folder


@pytest.mark.parametrize("engine", installed_engines())
@pytest.mark.parametrize("name", ["patchcore", "padim"])
def test_scores_are_those_of_the_graph(name: str, engine: str, given: Path, bundles: Path) -> None:
    model = onnx.load(str(given / f"{name}.onnx"))
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info("raw", onnx.TensorProto.FLOAT, None))
    runtime = Runtime(bundles / f"{name}.bundle", engine=engine, threads=1)
    for frame in (good_frame(50), bad_frame(51)):
        expected = float(run_once(model.SerializeToString(), "input", pixels(frame))[0].reshape(-1)[0])
        assert runtime.inspect(frame).score == pytest.approx(expected, rel=1e-4)
    assert runtime.threshold == pytest.approx(THRESHOLD, rel=1e-5)
    assert runtime.manifest.backbone.input_size == (SIZE, SIZE)


def test_weights_of_half_the_width_become_whole(given: Path, tmp_path: Path) -> None:
    """Its scores are those of the rounded weights, which the import proves."""
    model = written(onnx.load(str(given / "padim.onnx")), tmp_path / "half", half=True)
    out = imported(given, model, tmp_path / "a.bundle")
    assert Runtime(out, threads=1).inspect(bad_frame(51)).is_anomalous


def test_without_openvino_nothing_is_run(given: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.importers.anomalib_ir.installed_engines", lambda: ("onnxruntime",))
    assert read(given / "padim/model.xml", Asked()).prove is None
    monkeypatch.undo()
    assert read(given / "padim/model.xml", Asked()).prove is not None


def test_the_translated_graph_gives_the_same(given: Path) -> None:
    """All of it, not the network alone."""
    pytest.importorskip("onnxruntime", reason="it runs the translated graph")
    for name in ("patchcore", "padim"):
        ir = read_ir(given / name / "model.xml")
        proto, _ = to_onnx(ir)
        assert not [node.op_type for node in proto.graph.node if node.domain]
        assert {"pred_score", "anomaly_map"} <= {value.name for value in proto.graph.output}
        del proto.graph.output[:]
        proto.graph.output.append(onnx.helper.make_tensor_value_info("pred_score", onnx.TensorProto.FLOAT, None))
        (image,) = (value.name for value in proto.graph.input)
        found = run_once(proto.SerializeToString(), image, pixels(good_frame(50)))[0]
        model = onnx.load(str(given / f"{name}.onnx"))
        place = [value.name for value in model.graph.output].index("pred_score")
        wanted = run_once(model.SerializeToString(), "input", pixels(good_frame(50)))[place]
        np.testing.assert_allclose(found.reshape(-1), wanted.reshape(-1), rtol=1e-4, atol=1e-5)


# --------------------------------------------------------------------------------------------- files that cannot be

EDGELESS = '<net name="a" version="11"><layers>{}</layers><edges>{}</edges></net>'
CONSTANT = (
    '<layer id="0" name="c" type="Const" version="opset1"><data element_type="{}" shape="{}" offset="{}" size="{}"/>'
)
CONSTANT += '<output><port id="0"/></output></layer>'
LAUGHS = (
    '<!DOCTYPE net [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><net><layers><layer id="&b;" type="x"/></layers></net>'
)
OUTSIDE = '<!DOCTYPE net [<!ENTITY a SYSTEM "file:///etc/passwd">]><net>&a;</net>'
LAYER = '<layer id="{}" type="ReLU"><input><port id="0"/></input><output><port id="1"/></output></layer>'
EDGE = '<edge from-layer="{}" from-port="1" to-layer="{}" to-port="0"/>'


def test_hostile_files_are_refused(tmp_path: Path) -> None:
    cases = {
        "empty": ("", "well-formed"),
        "no xml": ("GIF89a", "well-formed"),
        "cut": ("<net><layers>", "well-formed"),
        "laughs": (LAUGHS, "document type"),
        "outside": (OUTSIDE, "document type"),
        "another root": ("<html/>", "another root"),
        "no layers": (EDGELESS.format("", ""), "no layers"),
        "no type": (EDGELESS.format('<layer id="0"/>', ""), "without id or type"),
        "one id": (EDGELESS.format('<layer id="0" type="a"/>' * 2, ""), "one id twice"),
        "deep": ("<net>" + "<a>" * 10_000 + "</a>" * 10_000 + "</net>", "inside of one another"),
        "a circle": (
            EDGELESS.format(LAYER.format(0) + LAYER.format(1), EDGE.format(0, 1) + EDGE.format(1, 0)),
            "circle",
        ),
        "no edge": (EDGELESS.format(LAYER.format(0), ""), "none to ReLU"),
        "an edge from nowhere": (EDGELESS.format(LAYER.format(0), EDGE.format(7, 0)), "none to ReLU"),
        "a dim": (
            EDGELESS.format('<layer id="0" type="a"><output><port id="0"><dim>1e9</dim></port></output></layer>', ""),
            "is no number",
        ),
        "beyond": (EDGELESS.format(CONSTANT.format("f32", "4", 8, 16), ""), "inside the 16 bytes"),
        "before": (EDGELESS.format(CONSTANT.format("f32", "2", -8, 8), ""), "inside the 16 bytes"),
        "another size": (EDGELESS.format(CONSTANT.format("f32", "3", 0, 16), ""), "inside the 16 bytes"),
        "huge": (EDGELESS.format(CONSTANT.format("f32", "4294967296,4294967296", 0, 0), ""), "inside the 16 bytes"),
        "huge and empty": (EDGELESS.format(CONSTANT.format("f32", "0,-1", 0, 0), ""), "inside the 16 bytes"),
        "many axes": (EDGELESS.format(CONSTANT.format("f32", ",".join("1" * 99), 0, 4), ""), "inside the 16 bytes"),
        "long": (EDGELESS.format(CONSTANT.format("f32", "9" * 5000, 0, 4), ""), "is no number"),
        "a type": (EDGELESS.format(CONSTANT.format("object", "1", 0, 8), ""), "inside the 16 bytes"),
        "text": (EDGELESS.format(CONSTANT.format("string", "1", 0, 8), ""), "inside the 16 bytes"),
        "outputs": (
            EDGELESS.format(f'<layer id="0" type="a"><output>{"<port/>" * 100}</output></layer>', ""),
            "more than 64 outputs",
        ),
    }
    (tmp_path / "model.bin").write_bytes(bytes(16))
    for text, words in cases.values():
        (tmp_path / "model.xml").write_text(text)
        with pytest.raises(SpecError, match=words):
            read_ir(tmp_path / "model.xml")
        with pytest.raises(SpecError):
            read(tmp_path / "model.xml", Asked())


def test_a_large_circle_is_found_at_once(tmp_path: Path) -> None:
    count = 20_000
    layers = "".join(LAYER.format(i) for i in range(count))
    edges = "".join(EDGE.format((i + 1) % count, i) for i in range(count))
    (tmp_path / "model.xml").write_text(EDGELESS.format(layers, edges))
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(SpecError, match="circle"):
        read_ir(tmp_path / "model.xml")


def test_constants_may_not_share_their_place_without_end(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(bytes(2**22))
    layers = "".join(
        CONSTANT.format("f32", 2**20, 0, 2**22).replace('id="0" name', f'id="{i}" name') for i in range(100)
    )
    (tmp_path / "model.xml").write_text(EDGELESS.format(layers, ""))
    with pytest.raises(SpecError, match="share their places"):
        read_ir(tmp_path / "model.xml")


def test_every_text_of_an_ir_may_be_another(given: Path, tmp_path: Path) -> None:
    """One after the other: an operator without its inputs, a shape that is none, a type for a number."""
    text = (given / "padim/model.xml").read_text()
    (tmp_path / "model.bin").write_bytes((given / "padim/model.bin").read_bytes())
    texts = list(re.finditer('"([^"]*)"', text[: text.index("<edges>")]))
    for number, found in enumerate(texts):
        other = ("", "-1", "0,0,0,0", "9223372036854775807", "MatMul", "Result", "boolean", "1e400")[number % 8]
        (tmp_path / "model.xml").write_text(text[: found.start(1)] + other + text[found.end(1) :])
        with contextlib.suppress(SpecError):
            read(tmp_path / "model.xml", Asked())
    for kind in ("MatMul", "Result", "Reshape"):  # of a constant, which has no inputs
        (tmp_path / "model.xml").write_text(text.replace('type="Const"', f'type="{kind}"', 1))
        with contextlib.suppress(SpecError):
            read(tmp_path / "model.xml", Asked())


def test_what_is_made_of_constants_is_bounded(tmp_path: Path) -> None:
    """A constant that is added to itself, again and again; and one of truth values, which have no difference."""
    (tmp_path / "model.bin").write_bytes(bytes(2**20))
    port = '<input><port id="0"/><port id="1"/></input><output><port id="2"/></output></layer>'
    layers = CONSTANT.format("f32", 2**18, 0, 2**20)
    layers += "".join(f'<layer id="{i}" type="Add">{port}' for i in range(1, 100))
    edge = '<edge from-layer="{}" from-port="{}" to-layer="{}" to-port="{}"/>'
    edges = "".join(edge.format(i - 1, 2 if i > 1 else 0, i, port) for i in range(1, 100) for port in (0, 1))
    (tmp_path / "model.xml").write_text(EDGELESS.format(layers, edges))
    proto, _ = to_onnx(read_ir(tmp_path / "model.xml"))
    assert 0 < len(proto.graph.node) < 99
    layers = CONSTANT.format("boolean", "4", 0, 4) + f'<layer id="1" type="Subtract">{port}'
    (tmp_path / "model.xml").write_text(EDGELESS.format(layers, edge.format(0, 0, 1, 0) + edge.format(0, 0, 1, 1)))
    assert len(to_onnx(read_ir(tmp_path / "model.xml"))[0].graph.node) == 1


def test_both_files_must_be_there(given: Path, tmp_path: Path) -> None:
    for name, missing in (("model.xml", "model.bin"), ("model.bin", "model.xml")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_bytes((given / "padim" / name).read_bytes())
        with pytest.raises(SpecError, match=missing):
            read_ir(folder / "model.xml")
    data = (given / "padim/model.bin").read_bytes()
    (tmp_path / "model.xml/model.bin").write_bytes(data[:-100])
    with pytest.raises(SpecError, match=r"inside the .* bytes of model\.bin"):
        read_ir(tmp_path / "model.xml/model.xml")


def test_cut_files_are_refused(given: Path, tmp_path: Path) -> None:
    text = (given / "patchcore/model.xml").read_text()
    (tmp_path / "model.bin").write_bytes((given / "patchcore/model.bin").read_bytes())
    for part in range(1, 10):
        (tmp_path / "model.xml").write_text(text[: len(text) * part // 10])
        with pytest.raises(SpecError):
            read(tmp_path / "model.xml", Asked())


def test_operators_that_are_not_known(given: Path, tmp_path: Path) -> None:
    """After the patches they are passed over; before them they are refused."""
    text = (given / "patchcore/model.xml").read_text()
    (tmp_path / "model.bin").write_bytes((given / "patchcore/model.bin").read_bytes())
    (tmp_path / "model.xml").write_text(text.replace('type="ReduceMin"', 'type="Mystery"'))
    assert read(tmp_path / "model.xml", Asked()).rows is not None
    for kind in ("ReLU", "Convolution"):
        (tmp_path / "model.xml").write_text(text.replace(f'type="{kind}"', 'type="Mystery"'))
        with pytest.raises(SpecError, match="Mystery"):
            read(tmp_path / "model.xml", Asked())


def test_another_network_is_refused(tmp_path: Path) -> None:
    node, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    ends = [value(name, onnx.TensorProto.FLOAT, [1, 3, 8, 8]) for name in ("input", "output")]
    net = onnx.helper.make_graph([node("Relu", ["input"], ["output"])], "net", ends[:1], ends[1:])
    model = onnx.helper.make_model(net, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(SpecError, match="PatchCore, whose patches"):
        read(written(model, tmp_path / "net"), Asked())


def test_numbers() -> None:
    assert numbers("") == []
    assert numbers("1, -2,3") == [1, -2, 3]
    assert whole(" 7 ") == 7
    for text in ("", "-", "1.5", "0x10", "1_000", "9" * 20, "٣"):
        with pytest.raises(ValueError, match="no number"):
            whole(text)


def test_what_is_claimed(given: Path, tmp_path: Path) -> None:
    assert claims(given / "padim/model.xml")
    assert not claims(given / "padim.onnx")
    assert not claims(tmp_path)
    (tmp_path / "page.xml").write_text("<?xml version='1.0'?><page/>")
    assert not claims(tmp_path / "page.xml")
