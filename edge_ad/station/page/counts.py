"""What is counted of each camera, from the start of the station: for the page, and for Prometheus."""

from __future__ import annotations

import bisect
import threading
from collections import Counter, deque
from typing import Any

from edge_ad.station.desk import Ticket
from edge_ad.station.outcomes import FAULT, LATE
from edge_ad.system.percentiles import percentiles

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # of the histogram of latencies
QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99)  # of the scores
_RECENT = 1000  # parts that percentiles are taken of


class Counts:
    """Those of one camera. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.outcomes: Counter[str] = Counter()
        self.late = 0
        self._buckets = [0] * (len(BUCKETS_S) + 1)
        self._sum_s = 0.0
        self._latencies: deque[float] = deque(maxlen=_RECENT)
        self._scores: deque[float] = deque(maxlen=_RECENT)

    def add(self, ticket: Ticket) -> None:
        """A ticket whose outcome is durable. By the desk's thread, so it is short."""
        decision, latency_ms = ticket.decision, ticket.latency_ms
        if decision is None:
            return
        with self._lock:
            self.outcomes[decision.outcome] += 1
            self.late += decision.outcome == FAULT and decision.reason.startswith(f"{LATE}:")
            if latency_ms is not None:
                self._buckets[bisect.bisect_left(BUCKETS_S, latency_ms / 1e3)] += 1
                self._sum_s += latency_ms / 1e3
                self._latencies.append(latency_ms)
            if decision.score is not None:
                self._scores.append(decision.score)

    def told(self) -> dict[str, Any]:
        """What `Bridge.state` has of it, ready for JSON."""
        with self._lock:
            latencies, scores = list(self._latencies), list(self._scores)
            told = {"counts": dict(self.outcomes), "late": self.late}
            histogram = {"buckets": list(self._buckets), "sum_s": self._sum_s}
        p50, p99 = percentiles(latencies, (50, 99)) if latencies else (None, None)
        levels = percentiles(scores, [100 * each for each in QUANTILES]) if scores else ()
        quantiles = {str(each): float(value) for each, value in zip(QUANTILES, levels, strict=False)}
        times = {"p50_ms": None if p50 is None else float(p50), "p99_ms": None if p99 is None else float(p99)}
        return {**told, **times, "histogram": histogram, "score_quantiles": quantiles}
