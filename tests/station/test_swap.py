"""Bundles that are exchanged while parts go by, refused, and put back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_ad.bundle.file import Bundle
from edge_ad.cli import main
from edge_ad.errors import SpecError
from edge_ad.station.config import load_config
from edge_ad.station.journal import Journal, Row
from edge_ad.station.station import Station
from edge_ad.station.swap import bundle_before
from edge_ad.system.files import write_file
from tests.edited import edited, read
from tests.station.making import rows, run_batch, wait_for, write_config


def id_of(path: Path) -> str:
    with Bundle.open(path, points=()) as bundle:
        return bundle.id


def put(source: Path, place: Path) -> str:
    write_file(place / "part.bundle", [source.read_bytes()])
    return id_of(source)


def events(config: Path, kind: str) -> list[str]:
    with Journal(load_config(config, files=False).journal) as journal:
        return [text for _, _, found, text in journal.events() if found == kind]


@pytest.fixture
def other(golden: Path, tmp_path: Path) -> Path:
    return edited(golden, tmp_path / "other.bundle", name="other")


@pytest.fixture
def bad(golden: Path, tmp_path: Path) -> Path:
    """Its hashes are right, and its golden probes are not."""
    scores = read(golden)[1]["probes/scores"]
    return edited(golden, tmp_path / "bad.bundle", {"probes/scores": np.asarray(scores * 2, np.float32)})


@pytest.fixture
def running(place: Path) -> Iterator[Station]:
    """A station under load: a frame every 5 ms."""
    config = write_config(place, "options = { rate = 200 }", source="synthetic:64x64")
    station = Station(load_config(config))
    wait_for(lambda: len(rows(config, "number > 0")) > 20)
    yield station
    station.close()


def latest(config: Path) -> Row:
    return rows(config, "number = (SELECT max(number) FROM triggers)")[0]


def test_a_swap_misses_no_trigger(running: Station, place: Path, other: Path) -> None:
    config, old = running.config.path, id_of(place / "part.bundle")
    new = put(other, place)
    wait_for(lambda: latest(config).bundle == new)
    running.close()
    found = rows(config)
    assert [row.sequence for row in found] == list(range(len(found)))
    assert {row.outcome for row in found} == {"good"}
    used = [row.bundle for row in found]
    at = used.index(new)
    assert set(used[:at]) == {old}
    assert set(used[at:]) == {new}
    assert f"{old} -> {new}" in events(config, "bundle")[0]


@pytest.mark.parametrize("kind", ["damaged", "probes", "gone"])
def test_a_bad_bundle_is_refused_and_the_old_one_goes_on(running: Station, place: Path, bad: Path, kind: str) -> None:
    config, old = running.config.path, id_of(place / "part.bundle")
    if kind == "gone":
        (place / "part.bundle").unlink()
        count = len(rows(config))
        wait_for(lambda: len(rows(config, "number > 0")) > count + 100)
        assert events(config, "refused") == []
    else:
        data = bad.read_bytes()
        write_file(place / "part.bundle", [data if kind == "probes" else data[:-100]])
        (text,) = wait_for(lambda: events(config, "refused"))
        assert "is refused" in text
        assert f"{old} goes on" in text
        assert ("answers that the bundle expects" if kind == "probes" else "cut off") in text
    count = len(rows(config))
    wait_for(lambda: len(rows(config, "number > 0")) > count + 20)
    running.close()
    assert {(row.bundle, row.outcome) for row in rows(config)} == {(old, "good")}


def test_a_start_with_a_bad_bundle_goes_on_with_the_one_before(place: Path) -> None:
    config, old = write_config(place), id_of(place / "part.bundle")
    run_batch(config)
    (place / "part.bundle").write_bytes(b"half a bundle")
    for path in (place / "frames/done").iterdir():
        path.rename(place / "frames" / f"again {path.name}")
    found = run_batch(config)
    assert len(found) == 8
    assert {row.bundle for row in found} == {old}
    assert f"{old}, which is kept, goes on" in events(config, "refused")[0]


def test_rollback(running: Station, place: Path, other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, old = running.config.path, id_of(place / "part.bundle")
    new = put(other, place)
    wait_for(lambda: latest(config).bundle == new)
    assert main(["rollback", str(config), "top", "--who", "anna"]) == 0
    assert old in capsys.readouterr().out
    assert events(config, "rollback") == [f"{old} by anna"]
    wait_for(lambda: latest(config).bundle == old)
    (place / "part.bundle").write_bytes(b"one that is refused")
    wait_for(lambda: events(config, "refused"))
    assert main(["rollback", str(config), "top"]) == 0
    assert id_of(place / "part.bundle") == old


def test_the_alarm_of_a_refused_bundle_ends_with_the_file(running: Station, place: Path, bad: Path) -> None:
    """The bundle in use is put back into its place: nothing is exchanged, and nothing is wrong any more."""
    old = (place / "part.bundle").read_bytes()
    write_file(place / "part.bundle", [bad.read_bytes()])
    wait_for(lambda: [alarm.key for alarm in running.alarms.all() if alarm.active] == ["bundle:top"])
    write_file(place / "part.bundle", [old])
    wait_for(lambda: not any(alarm.active for alarm in running.alarms.all()))
    (text,) = wait_for(lambda: events(running.config.path, "bundle"))  # the alarm is told before that is durable
    assert "again" in text


def test_no_bundle_to_go_back_to(place: Path) -> None:
    config = write_config(place)
    run_batch(config)
    whole = load_config(config)
    with Journal(whole.journal) as journal:
        with pytest.raises(SpecError, match="no bundle to go back to"):
            bundle_before(whole.cameras[0], journal, whole.data)
        assert main(["rollback", str(config), "top", "--who", "anna"]) == 2
        assert events(config, "rollback") == []
        shutil.rmtree(whole.data / "bundles")
        (place / "part.bundle").unlink()
        with pytest.raises(SpecError, match="no bundle to go back to"):
            bundle_before(whole.cameras[0], journal, whole.data)


def test_a_copy_that_the_disk_has_damaged_is_made_again(place: Path) -> None:
    config = write_config(place)
    run_batch(config)
    (kept,) = (place / "var/bundles").iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[:1000] + bytes(byte ^ 255 for byte in whole[1000:90_000]) + whole[90_000:])
    assert len(run_batch(config)) == 4
    assert kept.read_bytes() == whole
