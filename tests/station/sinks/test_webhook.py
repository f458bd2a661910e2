"""Outcomes by HTTP, to a receiver that fails in every way: each arrives at least once, in order, with its key."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_ad.errors import EdgeADError, SpecError
from edge_ad.station.config import load_config
from edge_ad.station.doctor import examine
from edge_ad.station.sinks.base import NotYet
from tests.processes import child
from tests.station.making import RUN, wait_for
from tests.station.sinks.making import Opened, certificate, first_arrivals, keys_of, lines, write_config
from tests.station.sinks.receiver import Receiver, receiving

Open = Callable[..., Opened]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens sinks, and closes them at the end."""
    made: list[Opened] = []

    def make(url: str, **given: Any) -> Opened:
        made.append(Opened("webhook", tmp_path, {"url": url, **given}))
        return made[-1]

    yield make
    for each in made:
        each.close()


def numbers(server: Receiver) -> list[int]:
    return [taken.told["number"] for taken in server.taken]


def of_the_doctor(config: Path) -> str:
    found = next(each for each in examine(load_config(config)) if each.what == "sink webhook-mes")
    return f"{found.mark}: {found.told}"


def test_a_post_for_each_outcome(receiver: Receiver, opened: Open) -> None:
    sink = opened(f"{receiver.url}/hooks/line?site=7")
    assert sink.deliver(1, 2, 3) == 3
    assert receiver.connections == 1
    assert [taken.key for taken in receiver.taken] == ["journal-1", "journal-2", "journal-3"]
    first = receiver.taken[0]
    assert first.path == "/hooks/line?site=7"
    assert first.headers["Content-Type"] == "application/json"
    assert re.fullmatch(r"edge-ad/\S+", first.headers["User-Agent"])
    told = {key: first.told[key] for key in ("station", "number", "camera", "part_id", "outcome", "score", "time")}
    assert told == {
        "station": "Line 1",
        "number": 1,
        "camera": "top",
        "part_id": "part",
        "outcome": "good",
        "score": 0.5,
        "time": "2001-09-09T01:46:40.000Z",
    }
    assert "Edge-AD-Signature" not in first.headers
    assert "Authorization" not in first.headers


def test_a_signature(receiver: Receiver, opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_bytes(b"s3cret\r\n")
    monkeypatch.setenv("HOOK_RIGHT", "Bearer abc")
    sink = opened(receiver.url, secret_file=str(tmp_path / "secret"), authorization_env="HOOK_RIGHT")
    sink.deliver(1)
    headers, body = receiver.taken[0].headers, receiver.taken[0].body
    assert headers["Authorization"] == "Bearer abc"
    signed = headers["Edge-AD-Time"].encode() + b"." + body
    assert headers["Edge-AD-Signature"] == hmac.new(b"s3cret", signed, hashlib.sha256).hexdigest()


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_taken(receiver: Receiver, opened: Open, status: int) -> None:
    receiver.script = [status]
    assert opened(receiver.url).deliver(1, 2) == 2
    assert receiver.connections == 1


@pytest.mark.parametrize("status", [500, 503, 429, 408, 404, 401, 403, 409, 400, 422, 304])
def test_any_other_is_tried_again(receiver: Receiver, opened: Open, status: int) -> None:
    receiver.script = [200, status, status]
    sink = opened(receiver.url)
    assert sink.deliver(1, 2, 3) == 1  # what is taken counts
    with pytest.raises(EdgeADError, match=f"http://127.0.0.1:[0-9]+ answers {status}.*expected 2xx"):
        sink.deliver(2, 3)
    assert sink.deliver(2, 3) == 3
    assert numbers(receiver) == [1, 2, 3]
    assert sink.told == []


def test_a_redirect_is_not_followed(receiver: Receiver, opened: Open) -> None:
    receiver.script = [(307, {"Location": f"{receiver.url}/elsewhere"})]
    with pytest.raises(EdgeADError, match=r"answers 307.*not followed"):
        opened(receiver.url).deliver(1)
    assert [request.path for request in receiver.requests] == ["/"]


@pytest.mark.parametrize("failure", ["cut", "lost"])
def test_a_line_that_is_cut(receiver: Receiver, opened: Open, failure: str) -> None:
    receiver.script = [failure]
    sink = opened(receiver.url)
    with pytest.raises(EdgeADError, match="gave no answer"):
        sink.deliver(1)
    sink.deliver(1)
    assert {request.key for request in receiver.requests} == {"journal-1"}
    assert len(receiver.requests) == 2


@pytest.mark.parametrize("failure", ["hang", "drip"])
def test_an_answer_that_does_not_come(receiver: Receiver, opened: Open, failure: str) -> None:
    receiver.script = [failure]
    sink = opened(receiver.url, answer_s=0.3)
    with pytest.raises(EdgeADError, match=r"no whole answer within 0\.3 s"):
        sink.deliver(1)
    assert opened(receiver.url).deliver(1) == 1


def test_an_idle_line_that_the_receiver_closed_is_no_failure(receiver: Receiver, opened: Open) -> None:
    receiver.script = ["leave"]
    sink = opened(receiver.url)
    sink.deliver(1)
    assert sink.deliver(2) == 2
    assert numbers(receiver) == [1, 2]
    assert receiver.connections == 2


def test_a_long_answer_is_not_read_to_its_end(opened: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        sink = opened(f"http://127.0.0.1:{server.getsockname()[1]}")
        with child([sys.executable, "-c", _TALKER, str(server.fileno())], pass_fds=[server.fileno()]):
            assert sink.deliver(1) == 1


_TALKER = """
import socket, sys
line, _ = socket.socket(fileno=int(sys.argv[1])).accept()
line.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 1000000000000\\r\\n\\r\\n")
while True:
    line.sendall(bytes(65536))
"""


def test_a_receiver_that_is_not_there(opened: Open) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        sink = opened(f"http://127.0.0.1:{free.getsockname()[1]}/?token=abc")
        with pytest.raises(EdgeADError, match="refused") as caught:
            sink.deliver(1)
    assert "abc" not in str(caught.value)
    with pytest.raises(EdgeADError, match="no answer"):
        opened("http://no-such-host.invalid").deliver(1)


def test_a_station_that_ends_waits_for_nothing(receiver: Receiver, opened: Open) -> None:
    receiver.script = ["hang"]
    sink = opened(receiver.url, answer_s=600.0)
    sink.stopping.set()
    with pytest.raises(NotYet):
        sink.deliver(1)


def test_a_pause_that_the_receiver_asks_for(receiver: Receiver, opened: Open) -> None:
    receiver.script = [(429, {"Retry-After": "1000"}), 200]
    sink = opened(receiver.url)
    with pytest.raises(EdgeADError, match="answers 429"):
        sink.deliver(1)
    with pytest.raises(EdgeADError, match="asks for a pause"):
        sink.deliver(1)
    assert len(receiver.requests) == 1


def test_an_outcome_that_is_refused_for_itself_is_left_out_and_said(receiver: Receiver, opened: Open) -> None:
    receiver.script = [200, 422, 422, 200]
    sink = opened(receiver.url, refused_h=0)
    assert sink.deliver(1, 2, 3, 4) == 4
    assert numbers(receiver) == [1, 4]
    assert sink.told == [
        f"outcome {number} (camera top, part part, good) is left out: {receiver.url} answers 422 Unprocessable Entity"
        " for 0 h"
        for number in (2, 3)
    ]


def test_a_wrong_address_is_no_refusal_of_an_outcome(receiver: Receiver, opened: Open) -> None:
    receiver.script = [404]
    sink = opened(receiver.url, refused_h=0)
    with pytest.raises(EdgeADError, match="404"):
        sink.deliver(1)


def test_tls(opened: Open, tmp_path: Path) -> None:
    own, other = certificate(tmp_path, "127.0.0.1"), certificate(tmp_path, "elsewhere.test")
    with receiving(own) as server:
        url = server.url.replace("http", "https")
        sink = opened(url, ca=str(own[0]))
        assert sink.deliver(1, 2) == 2
        with pytest.raises(EdgeADError, match=r"certificate of .* is not valid"):
            opened(url).deliver(1)
        with receiving() as proxy:
            assert opened(url, ca=str(own[0]), proxy=proxy.url).deliver(3) == 3
            assert [request.path for request in proxy.requests] == [url.removeprefix("https://")]
        assert numbers(server) == [1, 2, 3]
    with receiving(other) as server, pytest.raises(EdgeADError, match=r"is not valid.*127\.0\.0\.1"):
        opened(server.url.replace("http", "https"), ca=str(other[0])).deliver(1)


def test_proxies_of_the_environment_are_not_used(
    receiver: Receiver, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert opened(receiver.url).deliver(1) == 1
    assert opened("http://mes.invalid/a?b=1", proxy=receiver.url).deliver(2) == 2
    assert [(taken.path, taken.headers["Host"]) for taken in receiver.taken[1:]] == [
        ("http://mes.invalid/a?b=1", "mes.invalid")
    ]


def test_secrets_that_are_not_there(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NONE", raising=False)
    with pytest.raises(SpecError, match="variable NONE holds no secret"):
        opened("http://a", secret_env="NONE")
    (tmp_path / "empty").write_bytes(b"\n")
    with pytest.raises(SpecError, match="empty holds no authorization"):
        opened("http://a", authorization_file=str(tmp_path / "empty"))
    with pytest.raises(SpecError, match="none cannot be read; got No such file"):
        opened("http://a", secret_file=str(tmp_path / "none"))
    (tmp_path / "two").write_bytes(b"a\nb: c")
    with pytest.raises(SpecError, match="no header takes"):
        opened("http://a", authorization_file=str(tmp_path / "two"))
    with pytest.raises(SpecError, match=r"certificates of .*two cannot be read"):
        opened("https://a", ca=str(tmp_path / "two"))
    with pytest.raises(SpecError, match=r"certificate .*two and the key .* cannot be used"):
        opened("https://a", cert=str(tmp_path / "two"), key=str(tmp_path / "two"))


@pytest.mark.parametrize(
    ("sink", "says"),
    [
        ("", "url is missing"),
        ('url = "mes.local"', "no address; expected http://HOST or https://HOST"),
        ('url = "ftp://mes"', "no address"),
        ('url = "http://mes:x"', "no address"),
        ('url = "http://[::1"', "no address"),
        (f'url = "http://{"a" * 70}"', "no address"),
        ('url = "http://"', "no address"),
        ('url = "http://mes/#a"', "no address"),
        ('url = "http://me:pw@mes"', "holds a user or password"),
        ('url = "http://mes"\nca = "station.toml"', "[sink] ca: it goes with https://"),
        ('url = "https://mes"\nca = "none.pem"', "[sink] ca: there is no file"),
        ('url = "https://mes"\ncert = "station.toml"', "cert and key go together"),
        ('url = "http://mes"\nsecret_env = "A"\nsecret_file = "station.toml"', "secret_env is given too"),
        ('url = "http://mes"\nsecret = "abc"', "no such key; did you mean secret_"),
        ('url = "http://mes"\nanswer_s = 0', "expected a number from 0.1 to 600"),
        ('url = "http://mes"\nname = "a b"', "up to 40 letters"),
        ('url = "http://mes"\n[[sink]]\nkind = "webhook"\nurl = "http://mes"\nanswer_s = 1', "the same sink above"),
    ],
)
def test_a_configuration_that_is_refused(place: Path, sink: str, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_config(write_config(place, f'kind = "webhook"\n{sink}'))
    assert says in str(caught.value)
    assert "me:pw" not in str(caught.value)


def test_its_place_is_that_of_its_address_or_name(place: Path) -> None:
    def identity(sink: str) -> str:
        return load_config(write_config(place, f'kind = "webhook"\n{sink}')).sinks[0].id

    plain = identity('url = "http://a"')
    assert identity('url = "http://a"\nanswer_s = 3\nwhat = ["reject"]') == plain
    assert identity('url = "http://b"') != plain
    assert identity('url = "http://a"\nname = "mes"') == identity('url = "http://b"\nname = "mes"') == "webhook-mes"


def test_a_station_and_a_receiver_that_fails_in_every_way(receiver: Receiver, place: Path) -> None:
    receiver.script = [500, 200, "cut", 200, "lost", 503, "hang", 200, 404, "leave", 200, 302]
    sink = f'kind = "webhook"\nurl = "{receiver.url}"\nanswer_s = 1\nsecret_env = "HOOK_SECRET"'
    config = write_config(place, sink, count=30)
    with child(
        [*RUN, config, "--until-idle"], env={**os.environ, "HOOK_SECRET": "Geheim7"}, stderr=subprocess.PIPE
    ) as run:
        assert run.stderr is not None
        told = run.stderr.read()
        assert run.wait() == 0, told
    wanted = keys_of(config)
    assert len(wanted) == 30
    assert first_arrivals(taken.key for taken in receiver.taken) == wanted
    assert not receiver.script
    assert "answers 500" in told
    assert "takes outcomes again" in told
    assert "Geheim7" not in told


def test_a_station_ends_while_the_receiver_hangs(receiver: Receiver, place: Path) -> None:
    receiver.script = [200, 200, *["hang"] * 100]
    config = write_config(place, f'kind = "webhook"\nname = "mes"\nurl = "{receiver.url}"\nanswer_s = 600', count=5)
    with child([*RUN, config], stderr=subprocess.PIPE) as run:
        wait_for(lambda: len(receiver.requests) == 3)
        run.send_signal(signal.SIGTERM)
        assert run.wait(timeout=120) == 128 + signal.SIGTERM  # and not after 600 s
    assert re.match("note: .* outcomes wait for it, the oldest of 20", of_the_doctor(config))
    receiver.ended.set()
    receiver.script = []
    subprocess.run([*RUN, config, "--until-idle"], check=True, stderr=subprocess.DEVNULL)
    assert first_arrivals(taken.key for taken in receiver.taken) == keys_of(config)
    assert of_the_doctor(config) == "ok: it has every outcome"


def test_what_is_left_out_stands_in_the_journal(receiver: Receiver, place: Path) -> None:
    receiver.script = [200, 400, 200]
    config = write_config(place, f'kind = "webhook"\nname = "mes"\nurl = "{receiver.url}"\nrefused_h = 0', count=3)
    subprocess.run([*RUN, config, "--until-idle"], check=True, stderr=subprocess.DEVNULL)
    assert numbers(receiver) == [1, 3]
    command = [*RUN[:-1], "journal", config, "--events", "--json"]
    events = lines(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    told = [event["text"] for event in events if event["kind"] == "sink"]
    assert len(told) == 1
    assert re.match(r"webhook-mes: outcome 2 \(camera top, .*\) is left out: .* answers 400 Bad Request", told[0])
