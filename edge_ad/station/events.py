"""The kinds of events in the journal: what happened that is no outcome. This list is closed.

A new kind is a line here. `Journal.event` writes no other; a reader may meet one that a newer edge-ad has written, so
what is read stays text. What raises an alarm stands in `alarms.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from edge_ad.sources import state


class EventKind(str, Enum):
    """See the module. The value is what the journal holds."""

    # of the station
    START = "start"
    RESTART = "restart"  # the process before ended while triggers were open
    RELOAD = "reload"  # the configuration was read again, or refused
    PAGE = "page"  # the operator page is gone, or there again
    SINK = "sink"
    CLOCK = "clock"  # it was set while the station ran

    # what the source of a camera says of itself
    CONNECTED = state.CONNECTED
    LOST = state.LOST
    LIVE = state.LIVE
    SILENT = state.SILENT
    FROZEN = state.FROZEN
    DARK = state.DARK
    BLINDED = state.BLINDED
    DROPS = state.DROPS
    ENDED = state.ENDED

    # of a camera
    SOURCE = "source"  # it cannot be read, or is there again
    BUNDLE = "bundle"  # another bundle is in use, or nothing is wrong with the file any more
    REFUSED = "refused"  # a bundle file cannot be used
    RECIPE = "recipe"  # another one was selected, is in use, or cannot be
    DRIFT = "drift"  # something is not as it was
    REFERENCE = "reference"  # what drift is measured against changed

    # what people did
    ACKNOWLEDGED = "acknowledged"  # an alarm
    LABEL = "label"
    ROLLBACK = "rollback"
    LEARN = "learn"
    UNDO = "undo"

    # of links to controllers
    PLC = "plc"
    MQTT = "mqtt"
    OPCUA = "opcua"

    def __str__(self) -> str:
        return self.value


Tell = Callable[[str, EventKind, str], None]  # journals an event: of which camera ("" for the station), kind, text
AGAIN = "it is there again"  # text of an event of the kind SOURCE or PAGE that ends what one before has said
