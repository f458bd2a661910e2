"""The configuration: every fault at once, each with its line and key."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from edge_ad.cli import main
from edge_ad.errors import SpecError
from edge_ad.sources import folder, synthetic
from edge_ad.station import outcomes, toml_file
from edge_ad.station.config import CAMERA, RETENTION, STATION, TRIGGERS, load_config
from edge_ad.station.outcomes import OUTCOMES
from edge_ad.station.sinks.table import SINKS
from tests.paths import ROOT
from tests.station.making import write_config

if sys.version_info < (3, 11):
    pytest.importorskip("tomli", reason="Python 3.10 reads TOML by the extra `station`")


def refused(path: Path) -> str:
    with pytest.raises(SpecError) as caught:
        load_config(path)
    return str(caught.value)


def test_paths_start_from_the_file_and_defaults_are_filled_in(place: Path) -> None:
    config = load_config(write_config(place, rest='[[sink]]\nkind = "jsonl"\npath = "out/all.jsonl"'))
    assert (config.name, config.data) == ("station", place / "var")
    (camera,), (sink,) = config.cameras, config.sinks
    assert (camera.bundle, camera.trigger, camera.budget_ms) == (place / "part.bundle", "free", None)
    assert dict(sink.options) == {"path": str(place / "out/all.jsonl")}
    assert sink.what == ("good", "reject", "no_part", "fault")
    assert config.retention.good_sample == 0.01
    assert load_config(config.path) == config


def test_all_faults_are_told_at_once_with_their_lines(place: Path) -> None:
    (place / "station.toml").write_text(
        '[station]\nnmae = "x"\n\n[[camera]]\nname = "top"\nsource = "foldr:frames"\nbundle = "none.bundle"\n'
        'deadline_ms = "fast"\n\n[[camera]]\nsource = "synthetic:64x64"\noptions = { cout = 3 }\n'
        'bundle = "part.bundle"\n\n[[sink]]\nkind = "webhok"\n\n[retention]\ngood_sample = 2\n[retntion]\n',
        encoding="utf-8",
    )
    told = refused(place / "station.toml")
    assert "has 9 errors" in told
    assert [int(line) for line in re.findall(r"toml:(\d+):", told)] == [2, 6, 7, 8, 10, 11, 16, 19, 20]
    for part in ("did you mean name?", "Did you mean folder:?", "there is no file", "did you mean count?"):
        assert part in told
    for part in ("name is missing: name of the camera", "expected a number from 0 to 1; got 2", "mean retention?"):
        assert part in told


@pytest.mark.parametrize(
    ("camera", "says"),
    [
        ('trigger = "every"', 'it goes with trigger = "every"'),
        ("every_ms = 5", "neither stands without the other"),
        ("deadline_ms = 5\nbudget_ms = 6", "above the deadline of 5 ms"),
        ("deadline_ms = true", "out of range"),
        ("deadline_ms = nan", "out of range"),
        ("cores = [0, 0]", "different whole numbers"),
        ('roi = "none.png"', "roi: there is no file"),
        ("http = 1", "there is no such key"),
        ('trigger = "sofware"', "Did you mean software?"),
        ("options = 3", "no table"),
        ('align = "yes"', "expected true or false"),
    ],
)
def test_a_key_of_a_camera(place: Path, camera: str, says: str) -> None:
    assert says in refused(write_config(place, camera))


@pytest.mark.parametrize(
    ("rest", "says"),
    [
        ('[[camera]]\nname = "top"\nsource = "synthetic:64x64"\nbundle = "part.bundle"', "two cameras 'top'"),
        ('[[sink]]\nkind = "jsonl"', "path is missing"),
        ('[[sink]]\nkind = "jsonl"\npath = "a"\nwhat = ["rejects"]', "Did you mean reject?"),
        ('[[sink]]\nkind = "csv"\npath = "a"\n[[sink]]\nkind = "csv"\npath = "a"', "the same sink above"),
        ("[sink]\nx = 1", "two brackets"),
        ('station = "x"', "no such key"),
        ("[[station]]\nname = 'a'", "it is no table"),
    ],
)
def test_other_tables(place: Path, rest: str, says: str) -> None:
    assert says in refused(write_config(place, rest=rest))


def test_what_is_no_toml(place: Path) -> None:
    path = place / "station.toml"
    assert "cannot be read" in refused(path)
    path.write_bytes(b"[station\n")
    assert "is no TOML" in refused(path)
    path.write_bytes(b"name = '\xff'")
    assert "not UTF-8" in refused(path)
    path.write_text("")
    assert "there is no camera" in refused(path)


def test_a_byte_order_mark_and_texts_of_several_lines(place: Path) -> None:
    path = write_config(place)
    path.write_text("\ufeff" + path.read_text(encoding="utf-8"), encoding="utf-8")
    assert load_config(path).cameras
    path.write_text('[station]\nname = """\nb = 1\n"""\nx = 1\n' + path.read_text(encoding="utf-8-sig"))
    assert re.search(r"toml:5: \[station\] x", refused(path))


def test_without_a_reader_of_toml(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toml_file.sys, "version_info", (3, 10))
    monkeypatch.setitem(sys.modules, "tomli", None)
    assert "pip install 'edge-ad[station]'" in refused(write_config(place))


def test_the_documentation_knows_every_key() -> None:
    page = "".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("station.md", "sinks.md", "http.md"))
    cells = {name for line in page.splitlines() if line.startswith("| `") for name in re.findall(r"`(\w+)`", line)}
    sinks = {name for kind in SINKS for name in SINKS.keys_of(kind)}
    options = {*folder.OPTIONS, *synthetic.OPTIONS}
    assert {*STATION, *CAMERA, *RETENTION, *sinks, "kind", *SINKS, *TRIGGERS, *OUTCOMES} <= cells
    assert {option for option in options if f"`{option}" not in page} == set()
    reasons = {outcomes.LATE, outcomes.NO_FRAME, outcomes.FRAME, outcomes.ENGINE, outcomes.RESTART, outcomes.RECIPE}
    assert reasons <= cells


def test_the_first_configuration_of_the_documentation_runs(place: Path) -> None:
    page = (ROOT / "docs/station.md").read_text(encoding="utf-8")
    text = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)[0]
    (place / "station.toml").write_text(text, encoding="utf-8")
    assert main(["run", str(place / "station.toml"), "--check"]) == 0
    assert main(["run", str(place / "station.toml"), "--until-idle"]) == 0
    assert len((place / "outcomes.csv").read_text(encoding="utf-8").splitlines()) == 5


def test_the_configurations_of_the_documentation(place: Path) -> None:
    page = (ROOT / "docs/station.md").read_text(encoding="utf-8")
    found = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert len(found) >= 2
    for text in found:
        (place / "station.toml").write_text(text, encoding="utf-8")
        assert load_config(place / "station.toml", files=False).cameras
