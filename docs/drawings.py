"""Draws the handshake of docs/plc.md: `python docs/drawings.py` writes its two SVG files beside this file.

The arrows of the states are looked up among the transitions of the code, and a test draws again and compares.
"""

from __future__ import annotations

from pathlib import Path

from edge_ad.station.plc.handshake import TRANSITIONS, State

FOLDER = Path(__file__).parent
_HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
    'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="white"/>'
    '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0L10 5L0 10z"/></marker></defs>'
)
# Centres of the boxes.
_PLACES = {
    State.OFFLINE: (110, 60),
    State.NOT_READY: (110, 200),
    State.READY: (110, 340),
    State.BUSY: (620, 340),
    State.RESULT: (620, 200),
    State.CLEAR: (365, 440),
}
_BOX = (150, 50)
_WORDS = {
    State.OFFLINE: "nothing valid",
    State.NOT_READY: "ready 0",
    State.READY: "ready 1",
    State.BUSY: "busy 1",
    State.RESULT: "valid 1, result",
    State.CLEAR: "valid 0, result 0",
}
# From, to, text, where the text stands, how far the arrow is moved aside, whether it is a fault's.
_ARROWS = (
    (State.OFFLINE, State.NOT_READY, "heartbeat", (120, 134), 0, False),
    (State.NOT_READY, State.READY, "camera ready", (136, 274), 18, False),
    (State.READY, State.NOT_READY, "not ready", (26, 274), -18, False),
    (State.READY, State.BUSY, "trigger, with a part id", (300, 330), 0, False),
    (State.BUSY, State.RESULT, "outcome, or none in time", (630, 274), 0, False),
    (State.RESULT, State.CLEAR, "acknowledge", (522, 296), 0, False),
    (State.CLEAR, State.READY, "trigger and acknowledge low", (40, 430), 0, False),
    (State.NOT_READY, State.RESULT, "trigger without a part id: fault", (270, 192), 0, True),
    (State.OFFLINE, State.RESULT, "heartbeat, and trigger high already: fault", (330, 100), 0, True),
)


def states() -> str:
    """The states, and the arrows that matter; the table of the page has all."""
    drawn = [_HEAD.format(width=820, height=500)]
    known = {(a, b) for a, _, b in TRANSITIONS}
    for start, end, text, (x, y), aside, fault in _ARROWS:
        if (start, end) not in known:
            raise ValueError(f"there is no transition from {start.name} to {end.name}")
        (x0, y0), (x1, y1) = _edge(start, end, aside), _edge(end, start, aside)
        dashed = ' stroke-dasharray="5 4"' if fault else ""
        line = f'<path d="M{x0:g} {y0:g}L{x1:g} {y1:g}" stroke="black" fill="none"{dashed} marker-end="url(#tip)"/>'
        drawn += [line, f'<text x="{x}" y="{y}">{text}</text>']
    for state, (x, y) in _PLACES.items():
        width, height = _BOX
        box = f'<rect x="{x - width / 2:g}" y="{y - height / 2:g}" width="{width}" height="{height}" rx="8"'
        drawn.append(f'{box} fill="#eef3fb" stroke="black"/>')
        name = f"{state.value} {state.name}"
        drawn.append(f'<text x="{x}" y="{y - 4}" text-anchor="middle" font-weight="bold">{name}</text>')
        drawn.append(f'<text x="{x}" y="{y + 14}" text-anchor="middle">{_WORDS[state]}</text>')
    drawn.append('<text x="420" y="40">From every state: no heartbeat, or the line is cut: OFFLINE.</text>')
    drawn.append('<text x="420" y="60">Trigger falls early: READY, and no result.</text>')
    return "\n".join([*drawn, "</svg>"]) + "\n"


def _edge(start: State, end: State, aside: int) -> tuple[float, float]:
    """Where a line between two centres leaves the first box."""
    (x0, y0), (x1, y1) = _PLACES[start], _PLACES[end]
    dx, dy = x1 - x0, y1 - y0
    width, height = _BOX
    part = min(width / 2 / abs(dx) if dx else 9.0, height / 2 / abs(dy) if dy else 9.0)
    return round(x0 + part * dx + (aside if not dx else 0), 1), round(y0 + part * dy, 1)


# Signals over 10 steps: 0 or 1.
_SIGNALS = (
    ("part, sequence", "the controller writes them", "0111111111"),
    ("trigger", "controller", "0011111100"),
    ("ready", "station", "1110000001"),
    ("busy", "station", "0001100000"),
    ("result, fault, part again", "station", "0000011000"),
    ("valid", "station", "0000011000"),
    ("acknowledge", "controller", "0000001100"),
)


def timing() -> str:
    """One part, as levels over time."""
    step, row, left = 56, 44, 230
    height = row * len(_SIGNALS) + 50
    drawn = [_HEAD.format(width=left + 10 * step + 20, height=height)]
    for at, (name, whose, levels) in enumerate(_SIGNALS):
        low = row * (at + 1)
        points: list[str] = []
        for place, level in enumerate(levels):
            y = low - 24 * int(level)
            points += [f"{left + place * step},{y}", f"{left + (place + 1) * step},{y}"]
        drawn.append(f'<text x="10" y="{low - 8}" font-weight="bold">{name}</text>')
        drawn.append(f'<text x="10" y="{low + 6}" font-size="11" fill="#555">{whose}</text>')
        drawn.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="black" stroke-width="2"/>')
    told = ("1", "2", "3", "4", "5", "6", "7", "8")
    for number, place in zip(told, (1, 2, 3, 5, 6, 7, 8, 9), strict=True):
        x = left + place * step
        drawn.append(f'<line x1="{x}" y1="14" x2="{x}" y2="{height - 24}" stroke="#bbb" stroke-dasharray="3 3"/>')
        drawn.append(f'<text x="{x}" y="{height - 8}" text-anchor="middle">{number}</text>')
    return "\n".join([*drawn, "</svg>"]) + "\n"


DRAWINGS = {"plc_states.svg": states, "plc_timing.svg": timing}

if __name__ == "__main__":
    for name, draw in DRAWINGS.items():
        (FOLDER / name).write_text(draw(), encoding="utf-8")
