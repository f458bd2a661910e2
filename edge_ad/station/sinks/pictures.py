"""`kind = "pictures"`: a folder with an overlay a part (the frame, heat, outlines), named by day, camera and part."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge_ad.station.journal import KEPT, PLANNED, Row
from edge_ad.station.pictures import overlay_of
from edge_ad.station.sinks.base import Message, NotYet, Sink, SinkOpening
from edge_ad.system.files import write_file
from edge_ad.system.keys import Key, text

KEYS = {"path": Key(text, "the folder that pictures are written to", required=True)}


class Pictures:
    """Copies the overlay of each kept picture; where there was no verdict, the frame itself."""

    def __init__(self, data: Path, folder: Path) -> None:
        self._data, self._folder = data, folder

    def deliver(self, messages: Sequence[Message]) -> None:
        """See `Sink.deliver`."""
        for each in messages:
            if each.row.kept == PLANNED:
                raise NotYet
            if each.row.kept == KEPT:
                self._copy(each.row)

    def _copy(self, row: Row) -> None:
        frame = self._data / row.picture
        source = overlay_of(frame)
        try:
            data = (source if source.exists() else frame).read_bytes()
        except FileNotFoundError:  # retention was faster
            return
        target = self._folder / Path(row.picture).relative_to("pictures")
        target.parent.mkdir(parents=True, exist_ok=True)
        write_file(target, [data])

    def close(self) -> None:
        """There is nothing to give back."""


def open_sink(opening: SinkOpening) -> Sink:
    """Opens the folder; it is made with the first picture."""
    return Pictures(opening.data, Path(opening.options["path"]))
