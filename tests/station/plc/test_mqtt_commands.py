"""Triggers by MQTT: through Mosquitto, which is killed and comes back, and from senders that send anything."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_ad.errors import SpecError
from edge_ad.station.config import load_config
from edge_ad.station.plc.base import Link, LinkOpening
from edge_ad.station.plc.table import LINKS
from edge_ad.station.station import Station
from tests.station.making import rows, wait_for, write_config
from tests.station.plc.hosts import FakeHost
from tests.station.sinks.broker import Mosquitto, brokers

paho = pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed (the mqtt extra)")
TRIGGER, ANSWER = "edge-ad/Line 1/trigger/top", "edge-ad/Line 1/answer/top"
STATUS = "edge-ad/Line 1/trigger-status"


class Controller:
    """Sends triggers, and has the answers."""

    def __init__(self, port: int, five: bool = True) -> None:
        self.messages: list[Any] = []
        self._ready: list[bool] = []
        protocol = paho.MQTTv5 if five else paho.MQTTv311
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=protocol)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda client, *_: client.subscribe([("edge-ad/#", 1), ("mine/#", 1)])
        self.client.on_subscribe = lambda *_: self._ready.append(True)
        self.client.on_message = lambda _, __, message: self.messages.append(message)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        wait_for(lambda: self._ready)

    def connected_again(self) -> None:
        wait_for(lambda: len(self._ready) > 1)

    def send(self, payload: Any, topic: str = TRIGGER, **more: Any) -> None:
        body = payload if isinstance(payload, (str, bytes)) else json.dumps(payload)
        self.client.publish(topic, body, qos=1, **more).wait_for_publish(60)

    def answers(self, count: int, topic: str = ANSWER) -> list[dict[str, Any]]:
        def found() -> list[Any]:
            return [message for message in list(self.messages) if message.topic == topic]

        wait_for(lambda: len(found()) >= count)
        return [json.loads(message.payload) for message in found()]

    def statuses(self) -> list[bytes]:
        return [message.payload for message in list(self.messages) if message.topic == STATUS]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with brokers(tmp_path) as make:
        made = make()
        made.start()
        yield made


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


Open = Callable[..., Controller]


@pytest.fixture
def opened(broker: Mosquitto, host: FakeHost, tmp_path: Path) -> Iterator[Open]:
    """Opens a link, and a controller of it."""
    with contextlib.ExitStack() as stack:

        def make(version: str = "5", **keys: Any) -> Controller:
            controller = Controller(broker.port, version == "5")
            stack.callback(controller.close)
            stack.callback(_link(broker, host, tmp_path, version=version, **keys).close)
            wait_for(lambda: b"online" in controller.statuses())
            return controller

        yield make


def _link(broker: Mosquitto, host: FakeHost, folder: Path, **keys: Any) -> Link:
    text = "\n".join(f'{name} = "{value}"' for name, value in keys.items())
    rest = f'[[plc]]\nkind = "mqtt"\nurl = "mqtt://127.0.0.1:{broker.port}"\n{text}'
    (link,) = load_config(write_config(folder, rest=rest), files=False).links
    return LINKS.open("mqtt", LinkOpening(link.id, "Line 1", host, dict(link.options), folder))


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_trigger_and_its_answer(opened: Open, host: FakeHost, version: str) -> None:
    controller = opened(version)
    controller.send({"part_id": "A17", "id": 5})
    controller.send("B 18")
    first, second = controller.answers(2)
    assert host.asked == ["A17", "B 18"]
    assert (first["part_id"], first["id"], first["camera"], first["station"]) == ("A17", "5", "top", "Line 1")
    assert (first["accepted"], first["outcome"], first["in_time"], first["score"]) == (True, "good", True, 0.5)
    assert second["part_id"] == "B 18"
    assert "id" not in second


def test_the_answer_goes_where_the_question_says(opened: Open) -> None:
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    controller = opened()
    asked = Properties(PacketTypes.PUBLISH)
    asked.ResponseTopic, asked.CorrelationData = "mine/answers", b"\x00\x01"
    controller.send("a", properties=asked)
    assert controller.answers(1, "mine/answers")[0]["part_id"] == "a"
    (message,) = (each for each in controller.messages if each.topic == "mine/answers")
    assert message.properties.CorrelationData == b"\x00\x01"
    assert message.properties.MessageExpiryInterval <= 60  # good, and no longer than its deadline
    asked.ResponseTopic = TRIGGER  # an answer there would be a trigger
    controller.send("b", properties=asked)
    assert controller.answers(1)[0]["part_id"] == "b"


def test_the_same_id_is_inspected_once(opened: Open, host: FakeHost) -> None:
    controller = opened()
    for count in (1, 2, 3):  # one that comes while the first still waits shares its answer
        controller.send({"part_id": "a", "id": "1"})
        controller.answers(count)
    controller.send({"part_id": "a", "id": "2"})
    answers = controller.answers(4)  # each is answered
    assert sorted(each["id"] for each in answers) == ["1", "1", "1", "2"]
    assert host.asked == ["a", "a"]


def test_good_is_not_said_late(opened: Open, host: FakeHost) -> None:
    """Not at first, and not when the same is asked again."""
    controller = opened()
    host.deadline, host.decides = 400.0, lambda part_id: "good"
    controller.send({"part_id": "a", "id": "1"})
    assert controller.answers(1)[0]["outcome"] == "good"
    time.sleep(0.5)
    controller.send({"part_id": "a", "id": "1"})
    again = controller.answers(2)[1]
    assert (again["outcome"], again["in_time"]) == ("fault", False)
    host.deadline, host.decides = 50.0, lambda part_id: None  # the station says nothing
    controller.send("b")
    late = controller.answers(3)[2]
    assert (late["part_id"], late["outcome"], late["in_time"]) == ("b", "fault", False)
    host.settle("good")  # counts for nothing any more
    controller.send("c")
    assert [each["part_id"] for each in controller.answers(4)] == ["a", "a", "b", "c"]


def test_a_retained_trigger_is_ignored(broker: Mosquitto, opened: Open, host: FakeHost) -> None:
    before = Controller(broker.port)
    before.send("old", retain=True)
    before.close()
    controller = opened()
    controller.send("new")
    assert controller.answers(1)[0]["part_id"] == "new"
    assert host.asked == ["new"]
    assert "retained trigger" in host.events[0][1]


REFUSED = [
    (b'{"part_id": ', "neither a text nor JSON"),
    (b"\xff\xfe", "neither a text nor JSON"),
    (b"[" * 4000, "256 printable characters"),
    (b'{"part_id": ' + b"[" * 4000, "neither a text nor JSON"),
    (b'{"part_id": ["a"]}', "part_id is no text"),
    (b'{"part_id": true}', "part_id is no text"),
    (b'{"part": "a"}', "only part_id and id are known; got part"),
    (b"", "there is no part_id"),
    (b"a\x00b", "printable characters"),
    (b"a" * 300, "256 printable characters"),
    (b"a" * 5000, "5,000 bytes"),
    (b'{"part_id": "a", "id": "' + b"b" * 300 + b'"}', "id holds up to 256"),
]


def test_what_is_no_trigger(opened: Open, host: FakeHost) -> None:
    controller = opened()
    for at, (payload, why) in enumerate(REFUSED, 1):
        controller.send(payload)
        told = controller.answers(at)[-1]
        assert not told["accepted"], payload
        assert why in told["reason"], payload
        assert "outcome" not in told
    host.why = "the camera is dark"
    controller.send("a")
    assert "the camera is dark" in controller.answers(len(REFUSED) + 1)[-1]["reason"]
    controller.send("a", "edge-ad/Line 1/trigger/side%2F")
    assert "no camera of that name" in controller.answers(1, "edge-ad/Line 1/answer/side%2F")[0]["reason"]
    assert host.asked == []


def test_a_flood(opened: Open, host: FakeHost) -> None:
    """So many wait for their outcomes; the others are refused, each with an answer."""
    controller = opened()
    host.decides = lambda part_id: None
    for at in range(200):
        controller.client.publish(TRIGGER, f"part {at}", qos=1)
    answers = controller.answers(192)
    assert all("8 triggers of camera top wait" in each["reason"] for each in answers)
    assert host.asked == [f"part {at}" for at in range(8)]
    for _ in range(8):
        host.settle("reject")
    assert [each["part_id"] for each in controller.answers(200)[192:]] == host.asked


def test_a_broker_that_is_killed(broker: Mosquitto, opened: Open, host: FakeHost) -> None:
    """What could not be sent is never sent; asked again, it is answered, and inspected once."""
    controller = opened()
    host.decides = lambda part_id: None
    controller.send({"part_id": "a", "id": "1"})
    wait_for(lambda: host.asked)
    broker.kill()
    wait_for(lambda: host.open)
    time.sleep(0.2)
    host.settle("good")
    wait_for(lambda: any("cannot be sent" in text for _, text in host.events))
    broker.start()
    controller.connected_again()
    wait_for(lambda: controller.statuses()[-1] == b"online" and len(controller.statuses()) > 1)
    host.decides = lambda part_id: "reject"
    controller.send("b")
    assert [each["part_id"] for each in controller.answers(1)] == ["b"]
    controller.send({"part_id": "a", "id": "1"})
    assert controller.answers(2)[1]["outcome"] == "good"
    assert host.asked == ["a", "b"]


def test_the_end_is_told(opened: Open, broker: Mosquitto, host: FakeHost, tmp_path: Path) -> None:
    controller = opened()
    other = _link(broker, host, tmp_path, name="other", client_id="other", camera="top")
    wait_for(lambda: other.state().well)
    other.close()
    other.close()
    assert "ended" in other.state().text
    wait_for(lambda: controller.statuses()[-1] == b"offline")


def test_a_station_with_triggers_by_mqtt(place: Path, broker: Mosquitto) -> None:
    camera = 'trigger = "software"\noptions = { rate = 200, bad = 0.5, seed = 3 }'
    rest = f'[station]\nname = "Line 1"\n[[plc]]\nkind = "mqtt"\nurl = "mqtt://127.0.0.1:{broker.port}"'
    config = write_config(place, camera, rest, source="synthetic:64x64")
    controller = Controller(broker.port)
    station = Station(load_config(config))
    try:
        wait_for(lambda: b"online" in controller.statuses() and not station.links.not_ready("top"))
        for at in range(10):
            controller.send(f"part {at}")
            controller.answers(at + 1)
        answers = controller.answers(10)
    finally:
        station.close()
        controller.close()
    found = {row.part_id: (row.outcome, row.number) for row in rows(config)}
    assert found == {each["part_id"]: (each["outcome"], each["number"]) for each in answers}
    assert len(found) == 10


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"topic": "a/b"}, "one of its levels must be"),
        ({"topic": "a/x{camera}"}, "one of its levels must be"),
        ({"answer": "edge-ad/{station}/trigger/{camera}"}, "each answer would be one"),
        ({"camera": "side"}, "there is no camera 'side'"),
        ({"password_env": "A"}, "it goes with user"),
    ],
)
def test_keys_that_do_not_go_together(tmp_path: Path, keys: dict[str, str], told: str) -> None:
    text = "\n".join(f'{name} = "{value}"' for name, value in keys.items())
    rest = f'[[plc]]\nkind = "mqtt"\nurl = "mqtt://127.0.0.1:1"\n{text}'
    with pytest.raises(SpecError, match=told):
        load_config(write_config(tmp_path, rest=rest), files=False)
