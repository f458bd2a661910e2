"""run --check, journal, replay and label, as a person uses them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_ad.cli import main, run
from edge_ad.cli.journal import since
from edge_ad.errors import SpecError
from tests.cli.calling import failing
from tests.station.conftest import place  # noqa: F401 - a fixture
from tests.station.making import rows, run_batch, write_config


@pytest.fixture
def done(place: Path) -> Path:  # noqa: F811
    config = write_config(place, rest="[retention]\ngood_sample = 0")
    run_batch(config)
    return config


def test_check(place: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    config = write_config(place)
    assert main(["run", str(config), "--check"]) == 0
    told = capsys.readouterr().out
    assert "is right: cameras top (folder:frames)" in told
    assert "next: edge-ad doctor" in told
    assert not (place / "var").exists()
    config.write_text(config.read_text().replace("bundle", "bundel"))
    assert main(["run", str(config), "--check"]) == 2
    assert "did you mean bundle?" in capsys.readouterr().err


def test_check_of_tokens(
    place: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "missing", lambda: "")
    told = '[station]\nhttp = "127.0.0.1:0"\nviewer_token_file = "token"\noperator_token_file = "token"'
    config = write_config(place, rest=told)
    assert main(["run", str(config), "--check"]) == 2
    assert "cannot be read" in capsys.readouterr().err
    (place / "token").write_text("one-token-for-everybody")
    assert main(["run", str(config), "--check"]) == 2
    assert "the same token" in capsys.readouterr().err


def test_the_journal(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["journal", str(done), "--json"]) == 0
    parts = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(parts) == 4
    needed = {"part_id", "camera", "source", "sequence", "outcome", "reason", "score", "threshold", "bundle", "point"}
    assert needed | {"latency_ms", "picture"} <= {*parts[0]}
    for arguments, count in (
        (["--outcome", "reject"], 2),
        (["--outcome", "reject", "--outcome", "good"], 4),
        (["--camera", "top", "--since", "1h"], 4),
        (["--since", "2100-01-01"], 0),
        (["--last", "1"], 1),
        (["--part", parts[0]["part_id"]], 1),
    ):
        assert main(["journal", str(done), *arguments]) == 0
        told = capsys.readouterr()
        assert len(told.out.splitlines()) == count, arguments
        assert told.err == ("" if count else "none of the 4 triggers in the journal fits\n")
    assert main(["journal", str(done), "--events"]) == 0
    assert "start" in capsys.readouterr().out
    failing(["journal", done, "--camera", "none"], capsys, "no camera of that name")
    for age in ("nonsense", "0001-01-01", "9999-12-31", "99999999999d", "²d", "", "-1h"):
        failing(["journal", done, f"--since={age}"], capsys, "--since is no time")
    failing(["journal", done, "--last", "0"], capsys, "--last is out of range")


def test_before_it_ran(place: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    failing(["journal", write_config(place)], capsys, "there is no journal")


def test_replay(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["journal", str(done), "--json"])
    parts = {row["outcome"]: row["part_id"] for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert main(["replay", str(done), parts["reject"]]) == 0
    assert "the same, to the bit" in capsys.readouterr().out
    failing(["replay", done, parts["good"]], capsys, "there is no picture of the part")
    failing(["replay", done, "none"], capsys, "no such part")
    failing(["replay", done, parts["good"].split("-")[0]], capsys, f"Did you mean {parts['good']}")


def test_replay_of_a_part_without_a_frame(place: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    config = write_config(place, "options = { count = 1, broken = 1.0 }", source="synthetic:64x64")
    (row,) = run_batch(config)
    failing(["replay", config, row.part_id], capsys, "got the fault no_frame: ")


def test_label(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["journal", str(done), "--json", "--outcome", "reject"])
    part = json.loads(capsys.readouterr().out.splitlines()[0])["part_id"]
    for label, stored in (("defect", "defect"), ("unsure", "unsure"), ("none", "")):
        assert main(["label", str(done), part, label]) == 0
        capsys.readouterr()
        main(["journal", str(done), "--json", "--part", part])
        assert json.loads(capsys.readouterr().out)["label"] == stored
    failing(["label", done, "none", "good"], capsys, "no such part")


def test_who_says_what_a_part_was(
    done: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event of each label, as the page writes it; none of a part that there is not."""
    monkeypatch.setenv("LOGNAME", "bert")
    part = rows(done)[0].part_id
    assert main(["label", str(done), part, "defect", "--who", "anna"]) == 0
    assert main(["label", str(done), part, "none"]) == 0
    failing(["label", done, "none", "good", "--who", "anna"], capsys, "no such part")
    failing(["label", done, part, "good", "--who", "a" * 201], capsys, "--who is too long")
    assert main(["journal", str(done), "--events", "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    told = [(event["camera"], event["text"]) for event in events if event["kind"] == "label"]
    assert told == [("top", f"{part}: defect, by anna"), ("top", f"{part}: no label, by bert")]


@pytest.mark.parametrize("text", ["", "x", "5y", "2026-13-01", "99999999999d", "h"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(SpecError, match="--since is no time"):
        since(text)
    assert since("2026-11-29T14:30") == since("2026-11-29T15:30+01:00") == 1795962600 * 10**9
