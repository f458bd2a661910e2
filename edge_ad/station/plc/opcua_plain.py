"""The object `Outcome` beside a vision system: plain variables for a controller that reads and decides.

OPC 40100-1 says how results travel, and nothing of whether a part is good. So this is the station's own.
"""

from __future__ import annotations

from typing import NamedTuple

from edge_ad.station.plc.opcua_model import BOOLEAN, DOUBLE, STRING


class Plain(NamedTuple):
    """A variable: its type in namespace 0, and what it says."""

    kind: int
    help: str


PLAIN = {
    "Ready": Plain(BOOLEAN, "a job may start now"),
    "NotReady": Plain(STRING, "why none may; empty where one may"),
    "Valid": Plain(BOOLEAN, "what follows is of the job that ended last; false from the start of the next one"),
    "Good": Plain(BOOLEAN, "the part is good, and this was written before its deadline; false in all other cases"),
    "Outcome": Plain(STRING, "`good`, `reject`, `no_part` or `fault`; empty while a job runs"),
    "Reason": Plain(STRING, "why it is not good"),
    "PartId": Plain(STRING, "of the part; while a job runs, of that one's"),
    "JobId": Plain(STRING, "of the job; while one runs, of that one"),
    "ResultId": Plain(STRING, "of the result: the number of the outcome in the journal; empty while a job runs"),
    "Score": Plain(DOUBLE, "of the verdict; NaN where there is none"),
    "Threshold": Plain(DOUBLE, "of the verdict; NaN where there is none"),
    "LatencyMs": Plain(DOUBLE, "from the trigger to the decision; NaN where there is none"),
    "Refusal": Plain(STRING, "why the last call of a method was refused: a status code has no text"),
}
