"""`edge-ad tune`: in a world of slow engines, and once for real."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import pytest

from edge_ad import Runtime
from edge_ad.bundle.file import Bundle
from edge_ad.cli import main
from edge_ad.engines import installed_engines
from edge_ad.serving.profile import load_profile, profile_path
from tests.serving.tuned import ANYTHING, saved, tuning_world
from tests.slow import NAMES, World, slow_bundle
from tests.tiny import good_frame

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="module")
def bundle(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return slow_bundle(golden, tmp_path_factory.mktemp("tune") / "points.bundle")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return tuning_world(monkeypatch)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGE_AD_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_table(bundle: Path, world: World, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world.milliseconds["fast"] = 15.0  # less faithful than "middle" and slower
    assert main(["tune", str(bundle), "--budget-ms", "1.5", "--seconds", "5"]) == 0
    out = capsys.readouterr().out.splitlines()
    rows = {line[1:].split()[0]: line for line in out[1:4]}
    assert [line.startswith("*") for line in rows.values()] == [True, True, False]
    assert list(rows) == list(NAMES)
    assert rows["middle"].rstrip().endswith("yes   Runtime(path, budget_ms=1.5)")
    assert rows["f32"].rstrip().endswith("no")
    (path,) = (cache / "profiles").iterdir()
    assert out[-1] == f"profile: {path}"
    assert main(["info", str(bundle)]) == 0
    assert "f32 2.5 ms, p99 2.5" in capsys.readouterr().out
    assert main(["tune", str(bundle), "--budget-ms", "0.1", "--seconds", "5"]) == 2
    assert "raises BudgetError" in capsys.readouterr().out


def test_json(bundle: Path, world: World, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = tmp_path / "images"
    images.mkdir()
    cv2.imwrite(str(images / "a.png"), good_frame(3))
    assert main(["tune", str(bundle), "--json", "--seconds", "5", "--frames", str(images), "--threads-max", "2"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["taken"] == "f32"
    assert {entry["settings"]["threads"] for entry in document["entries"]} == {1, 2}
    on_disk = json.loads(Path(document["path"]).read_text())
    assert on_disk["entries"] == document["entries"]
    assert on_disk["machine"]["bundle"] == Bundle.open(bundle).id


@pytest.mark.parametrize(
    "options", [["--seconds", "1000"], ["--threads-max", "0"], ["--budget-ms", "nan"], ["--frames", "/none"]]
)
def test_options_out_of_range(bundle: Path, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", str(bundle), *options]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_an_interrupt_leaves_the_old_profile(
    bundle: Path, world: World, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = saved(bundle, world)
    path = profile_path(old.machine)
    text, served = path.read_text(), iter(range(1000))

    def interrupted(engine: str, settings: Any) -> float:
        if next(served) == 20:
            raise KeyboardInterrupt
        return 1.0

    world.factor = interrupted
    assert main(["tune", str(bundle), "--seconds", "5"]) == 130
    assert path.read_text() == text
    assert len(list(path.parent.iterdir())) == 1


def test_for_real(golden: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", str(golden), "--seconds", "5", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    engines = {entry["settings"]["engine"] for entry in document["entries"]}
    assert engines == set(installed_engines()) or document["left_out"]  # a busy PC has no time for all in 5 s
    with Bundle.open(golden) as opened:
        profile = load_profile(opened.id, ["f32"])
    assert profile is not None
    best = profile.best("f32", ANYTHING).settings
    runtime = Runtime(golden, self_check=True)
    assert (runtime.engine, runtime.threads, runtime.search) == (best.engine, best.threads, best.search)
