"""The sources, by the beginning of their address. Each is one line here and is listed nowhere else.

A source's module is imported when it is first opened. It has `open_source(address, camera, options)`, and
`check_source` of the same, which only looks at them. `open_source` of one that goes on after a restart takes a `Resume`
too.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_ad.errors import SpecError
from edge_ad.sources.address import shown
from edge_ad.sources.base import Source
from edge_ad.sources.resume import Resume


@dataclass(frozen=True)
class SourceEntry:
    """A source.

    Attributes:
        module: that has its `open_source`.
        title: what it is, for a reader.
        form: of its addresses.
        resumes: whether its `open_source` takes a `Resume`.
    """

    module: str
    title: str
    form: str
    resumes: bool = False


SOURCES: dict[str, SourceEntry] = {
    "folder": SourceEntry("edge_ad.sources.folder", "a hot folder", "folder:PATH", resumes=True),
    "synthetic": SourceEntry("edge_ad.sources.synthetic", "drawn frames", "synthetic:HxW", resumes=True),
    "video": SourceEntry("edge_ad.sources.video", "a video file", "video:PATH", resumes=True),
    "rtsp": SourceEntry("edge_ad.sources.stream", "a network camera", "rtsp://HOST/PATH"),
    "rtsps": SourceEntry("edge_ad.sources.stream", "a network camera, encrypted", "rtsps://HOST/PATH"),
    "http": SourceEntry("edge_ad.sources.stream", "a stream of JPEGs, or a video", "http://HOST/PATH"),
    "https": SourceEntry("edge_ad.sources.stream", "the same, encrypted", "https://HOST/PATH"),
    "usb": SourceEntry("edge_ad.sources.usb", "a USB camera", "usb:N"),
    "aravis": SourceEntry("edge_ad.sources.genicam", "a GenICam camera: GigE Vision, USB3 Vision", "aravis:ID"),
}


def check_source(address: str, camera: str, options: Mapping[str, Any] | None = None) -> None:
    """Refuses what `open_source` would refuse without looking for the camera.

    Raises:
        SpecError: no source has this beginning, or the address or an option is wrong.
    """
    importlib.import_module(_entry(address, camera).module).check_source(address, camera, options)


def open_source(
    address: str, camera: str, options: Mapping[str, Any] | None = None, resume: Resume | None = None
) -> Source:
    """Opens the source of an address.

    Args:
        address: `PREFIX:...`, as `SOURCES` says. All of it belongs to the camera, a query too.
        camera: its name, for captures and messages.
        options: of this kind of source; its module documents them.
        resume: where it goes on.

    Raises:
        SourceError: it cannot be opened.
        SpecError: no source has this beginning, or the address or an option is wrong.
    """
    entry = _entry(address, camera)
    opener = importlib.import_module(entry.module).open_source
    more = (resume or Resume(),) if entry.resumes else ()
    source: Source = opener(address, camera, options, *more)
    return source


def _entry(address: str, camera: str) -> SourceEntry:
    prefix, colon, _ = address.partition(":")
    entry = SOURCES.get(prefix.lower())
    if entry is None or not colon:
        near = difflib.get_close_matches(prefix, [*SOURCES], n=1)
        raise SpecError(
            f"the address of camera {camera} names no source",
            expected=", ".join(each.form for each in SOURCES.values()),
            got=repr(shown(address)),
            remedy=f"Did you mean {near[0]}:?" if near else None,
        )
    return entry
