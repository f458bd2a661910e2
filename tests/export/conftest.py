"""The export of the tiny category."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


@pytest.fixture(scope="module")
def converted_once() -> Iterator[None]:
    """Torch takes seconds to turn a network into ONNX: in these tests each is turned once for each size."""
    onnx = pytest.importorskip("onnx", reason="the export needs onnx")
    pytest.importorskip("torchvision", reason="a torchvision backbone needs torch and torchvision")
    from export.backbone import TorchBackbone

    made: dict[tuple[Any, ...], bytes] = {}
    convert = TorchBackbone.to_onnx

    def to_onnx(self: TorchBackbone, size: tuple[int, int]) -> Any:
        digest = hashlib.sha256(str(self.extractor).encode())
        for name, values in self.extractor.state_dict().items():
            digest.update(name.encode() + values.numpy().tobytes())
        key = (digest.digest(), self.layers, self.patch, tuple(size))
        if key not in made:
            made[key] = convert(self, size).SerializeToString()
        return onnx.load_from_string(made[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TorchBackbone, "to_onnx", to_onnx)
        yield
