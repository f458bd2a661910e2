"""Outcomes by MQTT: to Mosquitto, which is killed and comes back, and to brokers that do not keep their word."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_ad.errors import EdgeADError, SpecError
from edge_ad.station.config import load_config
from edge_ad.station.sinks.base import NotYet
from edge_ad.station.sinks.mqtt import KEYS
from tests.processes import child
from tests.station.making import RUN, wait_for
from tests.station.sinks.broker import FalseBroker, Mosquitto, brokers, keys_in, program, watching
from tests.station.sinks.making import Opened, certificate, first_arrivals, keys_of, message, write_config

Open = Callable[..., Opened]
MakeBroker = Callable[..., Mosquitto]
STATUS = "edge-ad/Line 1/status"

pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed (the mqtt extra)")


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[MakeBroker]:
    with brokers(tmp_path) as make:
        yield make


@pytest.fixture
def broker(make_broker: MakeBroker) -> Mosquitto:
    made = make_broker()
    made.start()
    return made


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens sinks, and closes them at the end."""
    made: list[Opened] = []

    def make(port: int, scheme: str = "mqtt", **given: Any) -> Opened:
        made.append(Opened("mqtt", tmp_path, {"url": f"{scheme}://127.0.0.1:{port}", **given}))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def false_broker() -> Iterator[Callable[..., FalseBroker]]:
    made: list[FalseBroker] = []

    def make(*arguments: Any) -> FalseBroker:
        made.append(FalseBroker(*arguments))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_message_for_each_outcome_and_a_status(broker: Mosquitto, opened: Open, version: str) -> None:
    with watching(broker) as found:
        sink = opened(broker.port, version=version)
        wait_for(lambda: (STATUS, b"online") in found)  # before there is an outcome
        assert sink.deliver(*range(1, 101)) is None
        wait_for(lambda: len(found) == 101)
        assert keys_in(found) == [f"journal-{number}" for number in range(1, 101)]
        assert found[1][0] == "edge-ad/Line 1/outcome/top"
        sink.close()
        wait_for(lambda: found[-1] == (STATUS, b"offline"))


def test_names_that_topics_do_not_take(broker: Mosquitto, opened: Open) -> None:
    with watching(broker) as found:
        sink = opened(broker.port, topic="{station}/{camera}/{outcome}/{part_id}")
        sink.sink.deliver([message(1, "a+b/#$%\x00\n\udcff", "Kamera ü", "reject")])
        topics = wait_for(lambda: [topic for topic, _ in found if topic != STATUS])
        assert topics == ["Line 1/Kamera ü/reject/a%2Bb%2F%23%24%25%00%0A%FF"]


def test_a_broker_that_is_away_at_first(make_broker: MakeBroker, opened: Open) -> None:
    away = make_broker()
    sink = opened(away.port, connect_s=0.3)
    with pytest.raises(EdgeADError, match=r"mqtt://127\.0\.0\.1:[0-9]+: .*refused"):
        sink.deliver(1)
    away.start()
    with watching(away) as found:
        wait_for(lambda: _taken(sink, 1, 2))
        wait_for(lambda: keys_in(found)[-2:] == ["journal-1", "journal-2"])


def _taken(sink: Opened, *numbers: int) -> bool:
    try:
        return sink.deliver(*numbers) is None
    except EdgeADError:
        return False


def test_tls_and_a_password(make_broker: MakeBroker, opened: Open, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "127.0.0.1")
    (tmp_path / "users").touch()
    users = ["-b", tmp_path / "users", "line", "Geheim7"]
    subprocess.run([program("mosquitto_passwd"), *users], check=True, capture_output=True)
    broker = make_broker(more=f"certfile {cert}\nkeyfile {key}\npassword_file {tmp_path}/users\nallow_anonymous false")
    broker.start()
    (tmp_path / "password").write_text("Geheim7\n")
    given = {"scheme": "mqtts", "user": "line", "password_file": str(tmp_path / "password")}
    assert opened(broker.port, **given, ca=str(cert)).deliver(1) is None
    with pytest.raises(EdgeADError, match="certificate verify failed"):
        opened(broker.port, **given).deliver(1)
    (tmp_path / "password").write_text("Falsch8\n")
    with pytest.raises(EdgeADError, match="the broker refuses: Not authorized") as caught:
        opened(broker.port, **given, ca=str(cert), client_id="other").deliver(1)
    assert "Falsch8" not in str(caught.value)


def test_a_topic_that_the_broker_forbids(make_broker: MakeBroker, opened: Open, tmp_path: Path) -> None:
    """MQTT 5 says it; a broker of 3.1.1 acknowledges it and drops it."""
    (tmp_path / "rights").write_text("topic readwrite allowed/#\ntopic readwrite +/+/status\n")
    broker = make_broker(more=f"allow_anonymous true\nacl_file {tmp_path}/rights")
    broker.start()
    with pytest.raises(EdgeADError, match="does not take an outcome; got Not authorized"):
        opened(broker.port, topic="forbidden").deliver(1, 2)
    assert opened(broker.port, topic="allowed/a").deliver(1, 2) is None


def test_what_is_acknowledged_counts_and_nothing_else_is_kept(
    opened: Open, false_broker: Callable[..., FalseBroker]
) -> None:
    broker = false_broker(2)
    sink = opened(broker.port, answer_s=0.3)
    assert sink.deliver(1, 2, 3, 4, 5) == 2
    wait_for(lambda: broker.statuses == [b"online", b"offline"])
    broker.acknowledged = 0
    with pytest.raises(EdgeADError, match="does not acknowledge"):
        sink.deliver(3, 4, 5)
    broker.acknowledged = 10
    assert sink.deliver(3, 4, 5) is None
    assert [found for found in broker.connections if found] == [[1, 2, 3, 4, 5], [3, 4, 5], [3, 4, 5]]


def test_a_station_that_ends_in_the_middle(opened: Open, false_broker: Callable[..., FalseBroker]) -> None:
    broker = false_broker(2)
    sink = opened(broker.port, answer_s=600)
    end = threading.Timer(0.5, sink.stopping.set)
    end.start()
    try:
        assert sink.deliver(1, 2, 3) == 2
    except NotYet:  # on a machine that stalls, the end may come first
        assert broker.connections in ([], [[]], [[1]], [[1, 2]], [[1, 2, 3]])
    end.join()
    sink.close()
    assert broker.statuses in ([], [b"online", b"offline"])


def test_no_more_on_its_way_than_the_broker_wants(opened: Open, false_broker: Callable[..., FalseBroker]) -> None:
    broker = false_broker(0, b"\x20\x06\x00\x00\x03\x21\x00\x04")  # Receive Maximum of 4, with the status
    with pytest.raises(EdgeADError, match="does not acknowledge"):
        opened(broker.port, answer_s=0.3).deliver(*range(1, 11))
    assert broker.connections[0] == [1, 2, 3, 4]


@pytest.mark.parametrize("scheme", ["mqtt", "mqtts"])
def test_a_broker_that_says_nothing(opened: Open, false_broker: Callable[..., FalseBroker], scheme: str) -> None:
    sink = opened(false_broker(0, b"").port, scheme, connect_s=0.3)
    with pytest.raises(EdgeADError, match=r"no answer|timed out"):
        sink.deliver(1)
    sink.stopping.set()
    with pytest.raises(NotYet):
        sink.deliver(1)


def test_a_peer_that_speaks_something_else(opened: Open, false_broker: Callable[..., FalseBroker]) -> None:
    broker = false_broker(10, b"\x20\x01\xffHTTP/1.1 400 Bad Request\r\n\r\n")
    sink = opened(broker.port, connect_s=1)
    with pytest.raises(EdgeADError):
        sink.deliver(1)
    broker.answer = b"\x20\x03\x00\x00\x00"
    wait_for(lambda: _taken(sink, 1))


def test_without_paho(opened: Open, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho", None)
    monkeypatch.setitem(sys.modules, "paho.mqtt", None)
    with pytest.raises(SpecError, match=r"pip install 'edge-ad\[mqtt\]'"):
        opened(1)


@pytest.mark.parametrize(
    ("sink", "says"),
    [
        ("", "url is missing"),
        ('url = "http://a"', "no address; expected mqtt://HOST or mqtts://HOST"),
        ('url = "mqtt://a/b"', "a broker has no path"),
        ('url = "mqtt://a"\nca = "station.toml"', "[sink] ca: it goes with mqtts://"),
        ('url = "mqtt://a"\npassword_env = "A"', "[sink] password_env: it goes with user"),
        ('url = "mqtt://a"\nversion = "4"', "expected 5 or 3.1.1"),
        ('url = "mqtt://a"\nstatus = "a/{camera}"', "[sink] status: it is no topic to publish to"),
        *[
            (f'url = "mqtt://a"\ntopic = "{topic}"', "[sink] topic: it is no topic to publish to")
            for topic in ("a/#", "a/+", "$SYS/a", "{part}", "{station", "{station.x}", "{}")
        ],
    ],
)
def test_a_configuration_that_is_refused(place: Path, sink: str, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_config(write_config(place, f'kind = "mqtt"\n{sink}'))
    assert says in str(caught.value)


def test_the_topics_without_a_key_are_topics() -> None:
    for name in ("topic", "status"):
        assert KEYS[name].kind(KEYS[name].default) == KEYS[name].default


def test_a_station_whose_broker_and_which_itself_is_killed(make_broker: MakeBroker, place: Path) -> None:
    """At first there is no broker; it is killed in the middle; then the station is; at the end nothing is missing."""
    broker = make_broker()
    sink = f'kind = "mqtt"\nurl = "mqtt://127.0.0.1:{broker.port}"\nconnect_s = 1\nanswer_s = 20'
    config = write_config(place, sink, count=100, rate=20)
    with child([*RUN, config], stderr=subprocess.DEVNULL) as run:
        wait_for(lambda: _count(config) >= 5)
        broker.start()
        with watching(broker) as found:
            before = keys_in(found)
            assert before == []
            wait_for(lambda: len(keys_in(found)) >= 10)
            assert (STATUS, b"online") in found
            broker.kill()
            held = _count(config)
            wait_for(lambda: _count(config) >= min(held + 10, 90))  # the line goes on without a broker
            broker.start()
            wait_for(lambda: len({*keys_in(found)}) > held)
            os.kill(run.pid, signal.SIGKILL)
            run.wait()
            wait_for(lambda: found[-1] == (STATUS, b"offline"))
            subprocess.run([*RUN, config, "--until-idle"], check=True, stderr=subprocess.DEVNULL)
            wanted = keys_of(config)
            wait_for(lambda: len({*keys_in(found)}) == len(wanted))
            assert first_arrivals(keys_in(found)) == wanted
            wait_for(lambda: found[-1] == (STATUS, b"offline"))


def _count(config: Path) -> int:
    try:
        return len(keys_of(config))
    except EdgeADError:  # there is none yet, or it is being made
        return 0


def test_a_station_ends_though_its_broker_hangs(place: Path, false_broker: Callable[..., FalseBroker]) -> None:
    broker = false_broker(3)
    sink = f'kind = "mqtt"\nurl = "mqtt://127.0.0.1:{broker.port}"\nanswer_s = 600\nuser = "u"\npassword_env = "PW"'
    config = write_config(place, sink, count=10)
    with child([*RUN, config], stderr=subprocess.PIPE, env={**os.environ, "PW": "Geheim7"}) as run:
        wait_for(lambda: any(4 in numbers for numbers in [*broker.connections]))
        run.send_signal(signal.SIGTERM)
        assert run.wait(timeout=120) == 128 + signal.SIGTERM  # and not after 600 s
        assert run.stderr is not None
        assert not re.search("Geheim7|Traceback", run.stderr.read())
