"""What is known of a camera: for the journal and for people."""

from __future__ import annotations

from dataclasses import dataclass

LIVE, SILENT, FROZEN, DARK, BLINDED = "live", "silent", "frozen", "dark", "blinded"  # the health
CONNECTED, LOST, DROPS, ENDED = "connected", "lost", "drops", "ended"
EVENTS = (CONNECTED, LOST, LIVE, SILENT, FROZEN, DARK, BLINDED, DROPS, ENDED)  # all that a camera tells


@dataclass(frozen=True)
class CameraState:
    """A camera at one moment. It pickles.

    Attributes:
        camera, address: its name, and its address without a password.
        connected: whether the camera is open.
        since_ns: since when `connected` is so, by `time.time_ns`.
        health: "live", or what is wrong: "silent", "frozen", "dark", "blinded". A camera is live when frames come now.
        frames: that arrived since the source was opened.
        drops: frames that arrived, and that no reader got because a newer one came or no slot was free.
        missed: frames that the camera or the network lost, as far as they tell.
        withheld: frames that arrived while the health was not "live"; they come as captures with a fault.
        reconnects: how often the camera was opened again after it was lost.
        age_s: seconds since the last frame arrived; None where none ever did.
        pid: of the process that captures; None where there is none at the moment.
    """

    camera: str
    address: str
    connected: bool
    since_ns: int
    health: str
    frames: int
    drops: int
    missed: int
    withheld: int
    reconnects: int
    age_s: float | None
    pid: int | None


@dataclass(frozen=True)
class CameraEvent:
    """Something that happened to a camera. It pickles.

    Attributes:
        camera: its name.
        time_ns: when it was noticed, by `time.time_ns`.
        kind: one of `EVENTS`: "connected", "lost" (the connection, or the process that captures), "live", "silent",
            "frozen", "dark", "blinded" (the new health), "drops" (frames were dropped or missed), "ended" (a video).
        text: in words, without passwords.
    """

    camera: str
    time_ns: int
    kind: str
    text: str

    def __post_init__(self) -> None:
        if self.kind not in EVENTS:
            raise ValueError(f"a camera tells of {', '.join(EVENTS)}; got {self.kind!r}")
