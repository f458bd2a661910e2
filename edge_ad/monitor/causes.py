"""What an alarm says to people: what changed, and what usually causes it. All texts are here, each by a stable key.

A page in another language translates by `Alarm.key`, and by the keys of `NAMES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge_ad.monitor.statistics import STATISTICS

NAMES: Mapping[str, str] = {
    "brightness": "brightness",
    "sharpness": "sharpness",
    "blue": "share of blue",
    "red": "share of red",
    "score": "score of good parts",
    "rows": "share of coreset rows that a part is nearest to",
    "shift_y": "place of the part, from top to bottom",
    "shift_x": "place of the part, from left to right",
    "turn": "turn of the part",
    "scale": "size of the part",
}
_COLOUR = "The lamp ages or was replaced, the white balance changed, or a new lot has another colour."
_FIXTURE = "The fixture or the camera has moved, or the trigger comes at another moment."
_DISTANCE = "The distance from camera to part, the focus or the lens changed, or another part type goes by."
CAUSES: Mapping[str, str] = {
    "brightness.up": "Ambient light (sun, an open cover), a longer exposure, a new lamp, or a brighter lot.",
    "brightness.down": "The lamp ages or one of several has failed, dirt is on lamp or lens, or exposure is shorter.",
    "sharpness.up": "Focus or exposure were changed, the gain is higher (noise), or a new lot has more texture.",
    "sharpness.down": "Lens out of focus or dirty, the part is nearer or farther away, or it moves in the exposure.",
    "blue.up": _COLOUR,
    "blue.down": _COLOUR,
    "red.up": _COLOUR,
    "red.down": _COLOUR,
    "score.up": "A new lot, tool wear, or light and focus that change slowly: good parts come nearer to the threshold.",
    "rows.up": "A new lot or another part type: parts look like more of what was learned, or are more varied.",
    "rows.down": "A new lot or another part type: parts look like less of what was learned; or there is less detail.",
    "shift_y.up": _FIXTURE,
    "shift_y.down": _FIXTURE,
    "shift_x.up": _FIXTURE,
    "shift_x.down": _FIXTURE,
    "turn.up": _FIXTURE,
    "turn.down": _FIXTURE,
    "scale.up": _DISTANCE,
    "scale.down": _DISTANCE,
}


@dataclass(frozen=True)
class Alarm:
    """A statistic that is no more as the reference says.

    Attributes:
        statistic: a name of `STATISTICS`.
        side: "up" or "down".
        then: the median of the reference; `low` and `high` are its 5% and 95%.
        now: the median of the block of frames that gave the alarm.
        since_ns: when the first frame of that block came, `time.time_ns`. The drift may have begun before.
        found_ns: when the last one came.
        picture: of then and now, a path below the data folder; "" for none.
    """

    statistic: str
    side: str
    then: float
    low: float
    high: float
    now: float
    since_ns: int
    found_ns: int
    picture: str = ""

    @property
    def key(self) -> str:
        """Stable: of `CAUSES`."""
        return f"{self.statistic}.{self.side}"

    @property
    def cause(self) -> str:
        """What usually causes it."""
        return CAUSES[self.key]

    @property
    def text(self) -> str:
        """Two sentences: what changed, and what usually causes it."""
        own = STATISTICS[self.statistic]
        now, low, high = (f"{value:.{own.digits}f}" for value in (self.now, self.low, self.high))
        word = "above" if self.side == "up" else "below"
        return (
            f"{NAMES[self.statistic]} is {now}{own.unit}, {word} the reference "
            f"({self.then:.{own.digits}f}, from {low} to {high}). Usual causes: {self.cause}"
        )
