"""What is derived from the registry of methods, shown by the new method of CONTRIBUTING.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the export is not installed")
pytest.importorskip("hnswlib", reason="the export is not installed")

from edge_ad import Runtime, SpecError
from edge_ad.bundle.file import Bundle
from edge_ad.cli import main
from edge_ad.evaluation.grid import choose_methods
from edge_ad.heads.base import Opening, check_search
from edge_ad.registry import METHODS
from edge_ad.serving.point import Point, Settings
from edge_ad.spec.table import fields_table, members_table, methods_table
from export.command_line import parse_options
from export.options import Options, method_options
from export.pipeline import export_bundle
from tests.contributing import the_method
from tests.edited import edited
from tests.tiny import WITH_BACKBONE, bad_frame, good_frame, tiny_options


@pytest.fixture
def method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of the example's method."""
    with the_method(tmp_path, monkeypatch) as name:
        yield name


def test_the_example_goes_from_images_to_verdicts(method: str, tiny: Path, tmp_path: Path) -> None:
    path = export_bundle(tiny_options(tiny, method=method, power=2, out=tmp_path / "o.bundle", to="onnx")).bundle
    runtime = Runtime(path, self_check=True)
    assert runtime.manifest.has_map
    assert runtime.manifest.index is None
    bad = runtime.inspect(bad_frame(9000))
    assert bad.anomaly_map.shape == bad_frame(9000).shape[:2]
    with Bundle.open(path) as bundle:
        mean = bundle.array("mean")
        patches = runtime.probe(bad_frame(9000)).patches
    assert bad.score == pytest.approx(float(((patches - mean) ** 2).sum(axis=1).max()), rel=1e-4)


def test_the_command_lines_have_the_example(
    method: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = parse_options(["part", "--method", method, "--power", "3"])
    assert (options.method, options.power) == (method, 3)
    assert method in choose_methods("all")
    with pytest.raises(SystemExit):
        parse_options(["--help"])
    assert f"{method}: power of the distance (default: 1)" in " ".join(capsys.readouterr().out.split())
    path = export_bundle(tiny_options(tiny, method=method, out=tmp_path / "o.bundle", to="onnx")).bundle
    assert main(["info", str(path)]) == 0
    assert f"{method}, power 1" in capsys.readouterr().out


def test_the_tables_have_the_example(method: str) -> None:
    assert (
        f"| `{method}` | largest distance of a patch from the mean patch | yes | no | no | exact |" in methods_table()
    )
    assert f"| `mean` | {method} | float32 (D): the mean patch of the good images |" in members_table()
    assert f"| `head.power` | integer, 1..4 | {method}: of the distance |" in fields_table()


def test_limits_of_an_option_hold_wherever_it_is_given(method: str) -> None:
    with pytest.raises(SpecError, match=r"--power is out of range; expected 1\.\.4; got 5"):
        parse_options(["part", "--power", "5"])
    with pytest.raises(SpecError, match="--power is out of range"):
        Options("part", power=0)
    with pytest.raises(SpecError, match="there is no such option"):
        Options("part", force=0)


def test_a_bundle_of_a_method_that_there_is_not_is_refused_with_those_that_there_are(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with the_method(tmp_path, monkeypatch) as name:
        path = export_bundle(tiny_options(tiny, method=name, out=tmp_path / "o.bundle", to="onnx")).bundle
        monkeypatch.delitem(METHODS.modules, name)
        with pytest.raises(Exception, match=r"manifest\.head\.method is unknown; expected 'patchcore' or 'padim'"):
            Runtime(path)


def test_a_file_that_another_method_writes_is_refused() -> None:
    with pytest.raises(SpecError, match="--normal-embed is for --method centroid"):
        Options("part", normal_embed=Path("e.json"))
    assert Options("part", method="padim", coreset=0.5).coreset == 0.5  # passed over: one command line serves a grid


def test_methods_that_share_a_flag_mean_the_same_value() -> None:
    for option in method_options():
        for method in METHODS.values():
            for own in method.options:
                if own.flag == option.flag:
                    assert (own.kind, own.default, own.limits) == (option.kind, option.default, option.limits)


def test_what_a_method_says_of_itself_is_what_its_head_does(tiny: Path, tmp_path: Path) -> None:
    for name in WITH_BACKBONE:
        method = METHODS[name]
        path = export_bundle(tiny_options(tiny, method=name, out=tmp_path / f"{name}.bundle", to="onnx")).bundle
        with Bundle.open(path) as bundle:
            point = Point(bundle, "f32", Settings("auto", "CPU", 1, None, "auto"))
            assert point.sights[0].head.has_map == method.has_map
            assert point.sights[0].head.search in method.searches
            assert isinstance(bundle.manifest.head, method.spec)
            own = {
                member for member in bundle.manifest.members if not member.startswith(("model.", "probes/", "drift/"))
            }
            assert own <= set(method.members)


def test_a_search_that_a_method_has_not_names_those_that_have_it() -> None:
    with pytest.raises(SpecError, match="Only patchcore has one"):
        check_search("graph", METHODS["knn"], has_graph=False)
    with pytest.raises(SpecError, match="Export again without --no-graph"):
        check_search("graph", METHODS["patchcore"], has_graph=False)


def test_a_head_opens_a_network_of_its_own(golden: Path, tmp_path: Path) -> None:
    """By the engine of the backbone, and with the same answers where the models are the same."""
    with Bundle.open(golden) as bundle:
        models = {f"own/{name}": bytes(bundle.blob(name)) for name in bundle.manifest.members if "model." in name}
    path = edited(golden, tmp_path / "own.bundle", models)
    found = []

    def keep(opening: Opening) -> object:
        found.append(opening)
        return METHODS["patchcore"].open(opening)

    with Bundle.open(path) as bundle, pytest.MonkeyPatch.context() as patch:
        patch.setattr("edge_ad.serving.sight.open_head", keep)
        point = Point(bundle, "f32", Settings("auto", "CPU", 1, None, "auto"))
        network = found[0].network("own")
    tensor = good_frame(1)[None]
    assert (network.name, network.precision) == (point.engine.name, point.engine.precision)
    np.testing.assert_array_equal(network(tensor), point.engine(tensor))
