"""Numbers for Prometheus, in its text format or in OpenMetrics, as the one who asks prefers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from edge_ad.station.outcomes import OUTCOMES
from edge_ad.station.page.counts import BUCKETS_S

State = dict[str, Any]
Sample = tuple[tuple[str, ...], Any]  # values of the labels, and the number


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes:
        name: without the suffixes `_total`, `_bucket` and the like, which its kind brings.
        kind: "counter", "gauge" or "histogram".
        labels: their names.
        help: what it says.
        samples: of a state.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str
    samples: Callable[[State], Iterator[Sample]]


def _of_cameras(value: Callable[[State], Any]) -> Callable[[State], Iterator[Sample]]:
    return lambda state: (((camera["name"],), value(camera)) for camera in state["cameras"])


def _outcomes(state: State) -> Iterator[Sample]:
    for camera in state["cameras"]:
        for outcome in OUTCOMES:
            yield (camera["name"], outcome), camera["counts"].get(outcome, 0)


def _scores(state: State) -> Iterator[Sample]:
    for camera in state["cameras"]:
        for quantile, value in camera["score_quantiles"].items():
            yield (camera["name"], quantile), value


def _drift(state: State) -> Iterator[Sample]:
    for camera in state["cameras"]:
        for name, told in camera["drift"].get("statistics", {}).items():
            yield (camera["name"], name), told["evidence"]


def _sinks(state: State) -> Iterator[Sample]:
    return (((sink["id"],), sink["behind"]) for sink in state["sinks"])


def _links(state: State) -> Iterator[Sample]:
    return (((link["id"],), float(link["well"])) for link in state["links"])


def _alarms(state: State) -> Iterator[Sample]:
    for acknowledged in (False, True):
        count = sum(alarm["acknowledged"] is acknowledged for alarm in state["alarms"])
        yield (str(acknowledged).lower(),), count


def _one(value: Callable[[State], Any]) -> Callable[[State], Iterator[Sample]]:
    return lambda state: iter([((), value(state))])


_CAMERA = ("camera",)
METRICS = (
    Metric(
        "edge_ad_latency_seconds",
        "histogram",
        _CAMERA,
        "From the trigger to the outcome.",
        _of_cameras(lambda camera: camera["histogram"]),
    ),
    Metric("edge_ad_outcomes", "counter", ("camera", "outcome"), "Triggers that ended so.", _outcomes),
    Metric(
        "edge_ad_deadline_misses",
        "counter",
        _CAMERA,
        "Triggers without a verdict at the deadline; they are faults.",
        _of_cameras(lambda camera: camera["late"]),
    ),
    Metric(
        "edge_ad_deadline_seconds",
        "gauge",
        _CAMERA,
        "The deadline of the configuration.",
        _of_cameras(lambda camera: camera["deadline_ms"] / 1e3),
    ),
    Metric(
        "edge_ad_frames_dropped",
        "counter",
        _CAMERA,
        "Frames that arrived, and that nobody read in time.",
        _of_cameras(lambda camera: camera["drops"]),
    ),
    Metric(
        "edge_ad_frames_missed",
        "counter",
        _CAMERA,
        "Frames that the camera or the network lost, as far as they tell.",
        _of_cameras(lambda camera: camera["missed"]),
    ),
    Metric(
        "edge_ad_camera_ready",
        "gauge",
        _CAMERA,
        "1 where a trigger would be inspected now.",
        _of_cameras(lambda camera: float(camera["ready"])),
    ),
    Metric(
        "edge_ad_score", "gauge", ("camera", "quantile"), "Quantiles of the scores of the last 1000 parts.", _scores
    ),
    Metric(
        "edge_ad_threshold",
        "gauge",
        _CAMERA,
        "Threshold of the score.",
        _of_cameras(lambda camera: camera["threshold"]),
    ),
    Metric("edge_ad_drift", "gauge", ("camera", "what"), "Evidence of drift, by statistic: 1 is an alarm.", _drift),
    Metric("edge_ad_queue", "gauge", (), "Triggers without a durable outcome.", _one(lambda state: state["queue"])),
    Metric("edge_ad_sink_behind", "gauge", ("sink",), "Outcomes that a sink has not been given.", _sinks),
    Metric("edge_ad_link_well", "gauge", ("link",), "1 where the controller is there.", _links),
    Metric("edge_ad_alarms", "gauge", ("acknowledged",), "Alarms that are shown.", _alarms),
    Metric(
        "edge_ad_disk_free_bytes",
        "gauge",
        (),
        "Free on the disk of the data folder.",
        _one(lambda state: state["disk"]["free_bytes"]),
    ),
    Metric(
        "edge_ad_pictures_bytes",
        "gauge",
        (),
        "Kept pictures, as they were counted last.",
        _one(lambda state: state["disk"]["pictures_bytes"]),
    ),
    Metric(
        "edge_ad_journal_blocked",
        "gauge",
        (),
        "1 while the journal cannot be written, and no trigger is accepted.",
        _one(lambda state: float(state["disk"]["blocked"])),
    ),
)


def table() -> str:
    """The metrics as a table of Markdown, for docs/http.md."""
    suffix = {"counter": "_total", "histogram": "_bucket, _sum, _count"}
    lines = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    for each in METRICS:
        name = each.name + (suffix[each.kind] if each.kind == "counter" else "")
        lines.append(f"| `{name}` | {each.kind} | {', '.join(each.labels)} | {each.help} |")
    return "\n".join(lines)


def exposition(state: State, accept: str) -> tuple[bytes, str]:
    """The metrics of a state as text, and its content type."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder

    registry = CollectorRegistry(auto_describe=False)  # not the global one: what others register is not ours
    registry.register(_Collector(state))
    encode, kind = choose_encoder(accept)
    return encode(registry), kind


class _Collector:
    """What prometheus-client asks for families of metrics."""

    def __init__(self, state: State) -> None:
        self._state = state

    def collect(self) -> Iterator[Any]:
        """All of them."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        kinds = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
        for metric in METRICS:
            family = kinds[metric.kind](metric.name, metric.help, labels=metric.labels)
            for labels, value in metric.samples(self._state):
                if metric.kind == "histogram":
                    family.add_metric(labels, _cumulated(value["buckets"]), value["sum_s"])
                elif value is not None:
                    family.add_metric(labels, value)
            yield family


def _cumulated(counts: list[int]) -> list[tuple[str, float]]:
    found, total = [], 0
    for limit, count in zip((*map(str, BUCKETS_S), "+Inf"), counts, strict=True):
        total += count
        found.append((limit, float(total)))
    return found
