"""The export of the tiny category."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_ad.engines import installed_engines
from tests.export.made import Export
from tests.tiny import tiny_options, write_material


@pytest.fixture
def export(tiny: Path, tmp_path: Path) -> Export:
    """Exports the tiny category with changed options; the path of the bundle."""
    for package in ("onnx", "hnswlib"):
        pytest.importorskip(package, reason="the export needs it")
    from export.pipeline import export_bundle

    def run(**changes: object) -> Path:
        if "openvino" not in installed_engines():
            changes = {"to": "onnx", **changes}
        return export_bundle(tiny_options(tiny, **{"out": tmp_path / "out.bundle", **changes})).bundle

    return run


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the fixture `tiny` has it, with more good images: enough to calibrate int8. Write nothing there."""
    return write_material(tmp_path_factory.mktemp("parts"), goods=24, tests=6)
