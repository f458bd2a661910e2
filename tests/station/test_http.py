"""Where the page is: keys of the configuration, and what is said before a station starts."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from edge_ad.cli import main
from edge_ad.errors import SpecError
from edge_ad.station.config import load_config
from edge_ad.station.doctor import BAD, NOTE, OK, Finding, examine
from edge_ad.station.page import extra
from tests.station.making import write_config

if sys.version_info < (3, 11):
    pytest.importorskip("tomli", reason="Python 3.10 reads TOML by the extra `station`")


def written(place: Path, keys: str) -> Path:
    return write_config(place, rest=f"[station]\n{keys}\n")


@pytest.mark.parametrize(
    ("given", "host", "port", "local", "url"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080, True, "http://127.0.0.1:8080/"),
        ("localhost:0", "localhost", 0, True, "http://localhost:0/"),
        ("[::1]:80", "::1", 80, True, "http://[::1]:80/"),
        ("0.0.0.0:8080", "0.0.0.0", 8080, False, "http://0.0.0.0:8080/"),
        ("line4.example:8080", "line4.example", 8080, False, "http://line4.example:8080/"),
    ],
)
def test_addresses(place: Path, given: str, host: str, port: int, local: bool, url: str) -> None:
    http = load_config(written(place, f'http = "{given}"')).http
    assert http is not None
    assert (http.host, http.port, http.is_local, http.url) == (host, port, local, url)
    assert (http.names, http.max_body, http.viewer_token, http.metrics_open) == ((), 32_000_000, None, False)


def test_all_keys(place: Path) -> None:
    keys = 'http = "127.0.0.1:1"\nhttp_names = ["Line4.Example"]\nhttp_max_mb = 2\nviewer_token_file = "v"\n'
    http = load_config(written(place, f"{keys}metrics_open = true")).http
    assert http is not None
    assert (http.names, http.max_body, http.metrics_open) == (("line4.example",), 2_000_000, True)
    assert (http.viewer_token, http.operator_token) == (place / "v", None)
    assert load_config(write_config(place)).http is None


@pytest.mark.parametrize(
    "keys",
    [
        'http = "8080"',
        'http = "127.0.0.1:99999"',
        'http = "::1:80"',
        'http = "a b:80"',
        "http = 8080",
        'http_names = ["a b"]',
        'http_names = "a"',
        "http_max_mb = 0",
        'metrics_open = "yes"',
    ],
)
def test_what_is_wrong_is_told_with_its_line(place: Path, keys: str) -> None:
    path = written(place, keys)
    with pytest.raises(SpecError) as caught:
        load_config(path)
    line = path.read_text(encoding="utf-8").splitlines().index(keys) + 1
    assert f"{path}:{line}: [station] {keys.partition(' ')[0]}" in str(caught.value)


def of_page(path: Path) -> Finding:
    (found,) = [finding for finding in examine(load_config(path)) if finding.what == "page"]
    return found


def test_doctor(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extra, "PACKAGES", ())
    assert of_page(written(place, 'http = "127.0.0.1:0"')).mark == OK
    assert of_page(written(place, 'http = "0.0.0.0:0"')).mark == NOTE
    with socket.create_server(("127.0.0.1", 0)) as taken:
        found = of_page(written(place, f'http = "127.0.0.1:{taken.getsockname()[1]}"'))
        assert (found.mark, "a free port" in found.told) == (BAD, True)
    (place / "short").write_text("x")
    assert of_page(written(place, 'http = "127.0.0.1:0"\nviewer_token_file = "short"')).mark == BAD
    monkeypatch.setattr(extra, "PACKAGES", ("no_such_package",))
    found = of_page(written(place, 'http = "127.0.0.1:0"'))
    assert (found.mark, "pip install 'edge-ad[station]'" in found.told) == (BAD, True)


def test_the_check_of_a_configuration(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(written(place, 'http = "127.0.0.1:8080"'))
    monkeypatch.setattr(extra, "PACKAGES", ())
    assert main(["run", "--check", path]) == 0
    assert "page at http://127.0.0.1:8080/" in capsys.readouterr().out
    monkeypatch.setattr(extra, "PACKAGES", ("no_such_package",))
    assert main(["run", "--check", path]) == 2
    assert "no_such_package" in capsys.readouterr().err
    assert main(["run", path]) == 2  # a station that cannot serve its page says so at the start
    assert "no_such_package" in capsys.readouterr().err
