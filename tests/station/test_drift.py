"""Drift of a camera in a station: alarms, references that are learned, renewed and kept, and what fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_ad import Runtime
from edge_ad.bundle.drift import drift_members
from edge_ad.bundle.file import Bundle
from edge_ad.cli import main
from edge_ad.errors import SpecError
from edge_ad.station import drift
from edge_ad.station.config import Drift, load_config
from edge_ad.station.drift import Watcher, folder_of
from edge_ad.station.journal import Journal
from edge_ad.station.kept import keep_bundle
from edge_ad.station.outcomes import GOOD, Decision
from edge_ad.station.station import Station
from edge_ad.station.swap import Seen
from edge_ad.verdict.verdict import Verdict
from tests.edited import edited
from tests.paths import DATA
from tests.station.making import run_batch, wait_for, write_config
from tests.tiny import good_frame, picture

EACH = Drift(every=1, reference=20)
DRIFTING = "[drift]\nevery = 1\nreference = 20"


def of_kind(config: Path, kind: str) -> list[str]:
    with Journal(load_config(config, files=False).journal) as journal:
        return [text for _, _, found, text in reversed(journal.events()) if found == kind]


class Camera:
    """A watcher that is fed by hand."""

    def __init__(self, data: Path, bundle: Path, settings: Drift = EACH) -> None:
        self.events: list[tuple[str, str, str]] = []
        self.id, _ = keep_bundle(data, bundle)
        self.watcher = Watcher("top", data, settings, lambda *event: self.events.append(event))
        self.watcher.start()
        self.fed = 0
        with Bundle.open(bundle) as opened:
            self._verdict: Verdict = Runtime(bundle, threads=1).inspect(good_frame(0))
            self._threshold = opened.manifest.calibration.threshold

    def feed(self, frame: np.ndarray, score: float | None = None) -> None:
        """Hands over a good part, and waits until it is measured."""
        score = self._threshold * 0.4 if score is None else score
        decision = Decision(GOOD, score=score, bundle=self.id, point="f32")
        wait_for(lambda: not self.watcher._jobs.full())
        self.watcher.look(frame, decision, Seen(self._verdict, frame))
        self.fed += 1

    def feed_good(self, count: int, light: float = 1.0) -> None:
        for at in range(count):
            self.feed(cv2.convertScaleAbs(good_frame(self.fed + at), alpha=light))

    def kinds(self) -> list[str]:
        return [kind for _, kind, _ in self.events]


@pytest.fixture
def known() -> Path:
    """A bundle that knows what its good images were like."""
    return DATA / "format-2-drift.bundle"


def test_a_station_whose_lamp_fades(place: Path, known: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The frames of a folder: half of them as at export, then much darker ones. One event says it, with a picture."""
    (place / "part.bundle").write_bytes(known.read_bytes())
    for path in (place / "frames").iterdir():
        path.unlink()
    for at in range(24):
        dark = cv2.convertScaleAbs(good_frame(3000 + at), alpha=0.8 if at >= 8 else 1.0)
        picture(place / "frames" / f"{at:03d}.png", dark)
    config = write_config(place, rest=DRIFTING)
    monkeypatch.setattr(Watcher, "look", _patient(Watcher.look))
    assert len(run_batch(config)) == 24
    events = of_kind(config, "drift")
    told = [text for text in events if text.startswith("brightness")]
    assert len(told) == 1
    assert "below the reference" in told[0]
    assert "lamp" in told[0]
    where = told[0].rpartition("Then and now: ")[2]
    pair = cv2.imread(str(load_config(config).data / where))
    assert pair.shape == (64 + 22, 2 * 64 + 8, 3)
    assert pair[22:, 72:].mean() < 0.9 * pair[22:, :64].mean()
    assert main(["drift", str(config)]) == 0


def _patient(look: Any) -> Any:
    """No frame is left out, so that the test counts on each."""

    def waits(self: Watcher, *given: Any) -> None:
        wait_for(lambda: not self._jobs.full())
        look(self, *given)

    return waits


def test_alarms_are_kept_acknowledged_and_renewed(known: Path, tmp_path: Path) -> None:
    camera = Camera(tmp_path, known)
    camera.feed_good(24)
    wait_for(lambda: camera.watcher.state()["statistics"])
    assert camera.watcher.alarms == ()
    state = camera.watcher.state()
    assert (state["reference"], state["bundle"]) == ("export", camera.id)
    assert json.loads(json.dumps(state)) == state
    camera.feed_good(24, 0.7)
    (alarm,) = wait_for(
        lambda: [each for each in camera.watcher.alarms if each.statistic == "brightness" and each.picture]
    )
    assert alarm.key == "brightness.down"
    assert (tmp_path / alarm.picture).is_file()
    assert camera.watcher.acknowledge("brightness")
    assert not camera.watcher.acknowledge("brightness")
    assert "brightness" not in {each.statistic for each in camera.watcher.alarms}
    camera.watcher.renew()
    camera.feed_good(20, 0.7)
    wait_for(lambda: any("complete" in text for _, _, text in camera.events))
    assert camera.watcher.state()["reference"] == "operator"
    camera.feed_good(24, 0.7)
    camera.watcher.close()
    assert camera.watcher.alarms == ()  # this is the new normal
    assert not (folder_of(tmp_path, "top") / "renew").exists()
    assert any("a new reference" in text for _, kind, text in camera.events if kind == "reference")


def test_a_bundle_without_a_reference_learns_and_a_restart_goes_on(golden: Path, tmp_path: Path) -> None:
    camera = Camera(tmp_path, golden)
    camera.feed_good(20)
    wait_for(lambda: any("complete" in text for _, _, text in camera.events))
    camera.watcher.close()
    assert camera.watcher.state()["reference"] == "station"
    again = Camera(tmp_path, golden)
    again.feed_good(16, 0.7)
    wait_for(lambda: again.watcher.alarms)
    again.watcher.close()
    assert "reference" not in again.kinds()
    (folder_of(tmp_path, "top") / "reference.json").write_text("{", encoding="utf-8")
    third = Camera(tmp_path, golden)
    third.feed_good(1)
    third.watcher.close()
    assert third.kinds() == ["reference"]  # it is taken anew


def test_a_new_bundle_begins_with_its_own_reference(known: Path, tmp_path: Path) -> None:
    camera = Camera(tmp_path, known)
    camera.feed_good(24, 0.7)
    wait_for(lambda: camera.watcher.alarms)
    rows = [{"brightness": 0.7 * 0.38 + 0.001 * at} for at in range(12)]
    spec, members = drift_members(rows, np.zeros((8, 8, 3), np.uint8))
    camera.id, _ = keep_bundle(tmp_path, edited(known, tmp_path / "new.bundle", members, drift=spec))
    camera.feed_good(4, 0.7)
    camera.watcher.close()
    state = camera.watcher.state()
    assert state["bundle"] == camera.id
    assert state["statistics"]["brightness"]["middle"] == pytest.approx(0.7 * 0.38 + 0.0055, abs=1e-4)
    assert camera.watcher.alarms == ()


def test_what_fails_is_said_once_and_touches_nothing(
    known: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(drift._log, "error", lambda text, *values: told.append(text % values))
    camera = Camera(tmp_path, edited(known, tmp_path / "bad.bundle", {"drift/then": np.zeros((1, 1, 3), np.uint8)}))
    camera.feed_good(6)
    camera.watcher.close()
    (text,) = told
    assert "camera top: drift is not watched: BundleCorruptError: drift/then" in text
    assert camera.watcher.state()["statistics"] == {}


def test_what_is_off_or_no_picture_is_not_taken(known: Path, tmp_path: Path) -> None:
    camera = Camera(tmp_path, known, Drift(enabled=False))
    camera.feed_good(3)
    camera.watcher.settings = EACH
    camera.feed(np.zeros((4, 64, 64), np.uint8))
    camera.watcher.close()
    assert camera.watcher.state()["statistics"] == {}
    assert camera.events == []


def test_a_station_answers_for_its_cameras(place: Path, known: Path) -> None:
    (place / "part.bundle").write_bytes(known.read_bytes())
    config = write_config(place, "options = { rate = 200 }", source="synthetic:64x64", rest=DRIFTING)
    station = Station(load_config(config))
    try:
        drift = station.lines["top"].drift
        wait_for(lambda: drift.state()["statistics"])
        assert not drift.acknowledge("unknown")
        assert isinstance(drift.alarms, tuple)
        assert main(["drift", str(config), "--renew", "top"]) == 0
        wait_for(lambda: drift.state()["reference"] == "operator")
        config.write_text(config.read_text("utf-8").replace("every = 1", "every = 3"), encoding="utf-8")
        station.reload()
        drift.renew()
        wait_for(lambda: len([text for text in of_kind(config, "reference") if "a new reference" in text]) == 2)
    finally:
        station.close()
    assert main(["drift", str(config), "--renew", "side"]) == 2


def test_keys(place: Path) -> None:
    config = write_config(place, rest="[drift]\nper_frames = 5\nevry = 1")
    with pytest.raises(SpecError, match="did you mean every") as caught:
        load_config(config)
    assert "per_frames" in str(caught.value)
    assert load_config(write_config(place)).drift == Drift()


@pytest.mark.parametrize("values", ["[1e308, -1e308]", "[1" + "0" * 400 + "]", "[" * 100_000])
def test_a_kept_reference_that_nothing_can_be_compared_with(tmp_path: Path, known: Path, values: str) -> None:
    """It is taken anew, and the camera is watched."""
    folder = folder_of(tmp_path, "top")
    folder.mkdir(parents=True)
    camera = Camera(tmp_path, known)
    text = f'{{"bundle": "{camera.id}", "renewed": false, "values": {{"rows": {values}}}}}'
    (folder / "reference.json").write_text(text, encoding="utf-8")
    camera.feed_good(20)
    camera.watcher.close()
    assert "the reference of rows is complete" in [text for _, _, text in camera.events]


def test_a_request_that_cannot_be_taken(tmp_path: Path, known: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once, and the camera is watched."""
    (folder_of(tmp_path, "top") / "renew").mkdir(parents=True)
    camera = Camera(tmp_path, known)
    camera.feed_good(20)
    camera.watcher.close()
    assert "the reference of rows is complete" in [text for _, _, text in camera.events]
    assert caplog.text.count("the request for a new reference cannot be taken") == 1
