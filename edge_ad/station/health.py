"""How a camera is, in one word, for all who tell of it: the page, `/ready` and the metrics, links, logs, the doctor.

The station asks the source, which it has open; others have the events of the journal. Both say the same in the same
words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from edge_ad.sources.base import Source, Watched
from edge_ad.sources.state import BLINDED, DARK, ENDED, FROZEN, LIVE, LOST, SILENT
from edge_ad.station.events import AGAIN, EventKind

WORDS = (LIVE, ENDED, LOST, SILENT, FROZEN, DARK, BLINDED)


@dataclass(frozen=True)
class Health:
    """How a camera is.

    Attributes:
        word: one of `WORDS`: it is live (all is well), at its end (a video), lost (its source is not there, or not
            connected), or there without seeing anything that could be inspected.
        why: for people; "" where it is live.
    """

    word: str = LIVE
    why: str = ""

    @property
    def is_well(self) -> bool:
        """Whether nobody needs to look after it."""
        return self.word in (LIVE, ENDED)

    @property
    def is_there(self) -> bool:
        """Whether it could be asked for a picture, however that would look."""
        return self.word not in (LOST, ENDED)


def health_of(source: Source | None, error: Exception | None) -> Health:
    """How a camera is now. Its source is None where it is not open, and then `error` says why. Nothing waits."""
    if error is not None:
        return Health(LOST, str(error))
    if source is None:
        return Health(LOST, "the camera is not there")
    if source.ended:
        return Health(ENDED, "the camera is at its end")
    if not hasattr(source, "state"):  # a folder
        return Health()
    seen = cast(Watched, source).state()
    if not seen.connected:
        return Health(LOST, "the camera is not connected")
    return Health() if seen.health == LIVE else Health(seen.health, f"the camera is {seen.health}")


def health_after(before: Health | None, kind: str, text: str) -> Health | None:
    """How a camera is after an event of it, by what was known before; None where nothing is known."""
    if kind in (EventKind.LOST, EventKind.SOURCE):
        return Health() if text == AGAIN else Health(LOST, text)
    if kind == EventKind.CONNECTED:
        return Health(SILENT, "it is connected, and no picture has come yet")
    if kind == EventKind.SILENT and (before is None or before.word == LOST):  # it is not even connected
        return before or Health(LOST, text)
    if kind not in WORDS:
        return before
    return Health() if kind == EventKind.LIVE else Health(str(kind), text)
