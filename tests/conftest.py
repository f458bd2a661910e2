"""Fixtures that several tests share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from edge_ad import Runtime
from edge_ad.engines import installed_engines
from tests.edited import edited
from tests.paths import DATA, ROOT
from tests.tiny import write_category

# A busy machine stalls for seconds, and then an example is late without a fault of the code.
settings.register_profile("edge-ad", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("edge-ad")


@pytest.fixture(params=["openvino", "onnxruntime"])
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine in turn; skipped where it is not installed."""
    if request.param not in installed_engines():
        pytest.skip(f"{request.param} is not installed")
    return str(request.param)


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Profiles of this machine's user are none of the tests' business."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_AD_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("EDGE_AD_NO_PROFILE", raising=False)  # benches set it, and some tests import those
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real images and weights; the test is skipped where it is not there."""
    folder = Path(os.environ.get("EDGE_AD_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no real images: {folder} is not there (EDGE_AD_SHARED names it)")
    return folder


@pytest.fixture(scope="session")
def golden() -> Path:
    """The bundle of format 1 that must load for ever: tests/data/make_fixture.py made it."""
    return DATA / "format-1.bundle"


@pytest.fixture(scope="session")
def golden_roi() -> Path:
    """The same with a region of interest and Eq. 7, and only an ONNX model."""
    return DATA / "format-1-roi.bundle"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny category `part` and a tiny `backbone.onnx`."""
    pytest.importorskip("onnx", reason="the export needs onnx")
    from tests.tiny import write_material

    return write_material(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_bundle(tiny: Path) -> Path:
    """A bundle of the tiny category with both models and a graph."""
    pytest.importorskip("hnswlib", reason="the export needs hnswlib")
    from export.pipeline import export_bundle
    from tests.tiny import tiny_options

    return export_bundle(tiny_options(tiny)).bundle


@pytest.fixture(scope="module")
def runtime(golden: Path) -> Runtime:
    """Of the golden bundle, by the engine that is chosen for this CPU."""
    return Runtime(golden, threads=2)


@pytest.fixture(scope="module")
def roi(golden_roi: Path) -> Runtime:
    """Of the golden bundle with a region of interest."""
    return Runtime(golden_roi, threads=2)


@pytest.fixture(scope="module")
def deep(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    """Of a bundle that accepts 12-bit frames in u16."""
    out = tmp_path_factory.mktemp("deep") / "deep.bundle"
    return Runtime(edited(golden, out, frame={"bit_depth": 16, "white_level": 4095}), threads=1)


@pytest.fixture(scope="module")
def category(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 3 good images to learn from, and 6 good and 6 bad ones to test with."""
    return write_category(tmp_path_factory.mktemp("category") / "part", goods=3, tests=6)


@pytest.fixture
def part(category: Path, tmp_path: Path) -> Path:
    """A copy of the category, to be spoilt."""
    return Path(shutil.copytree(category, tmp_path / "part"))


@pytest.fixture
def bundle(golden: Path, tmp_path: Path) -> Path:
    """A copy of the golden bundle, beside which something may be written."""
    return Path(shutil.copy(golden, tmp_path / "part.bundle"))
