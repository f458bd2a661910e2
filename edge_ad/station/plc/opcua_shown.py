"""What a controller reads of a part: nothing while its job runs, then its outcome, and "good" while there is time."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from asyncua import ua

from edge_ad.station.outcomes import FAULT, GOOD
from edge_ad.station.plc.base import Answer
from edge_ad.station.plc.opcua_calls import number_or_nan
from edge_ad.station.plc.opcua_model import COMPLETED, FAILED, PROCESSING
from edge_ad.station.plc.opcua_nodes import Nodes, no_result
from edge_ad.station.plc.opcua_results import Job, Results, result_of

_NOTHING = dict.fromkeys(("Score", "Threshold", "LatencyMs"), math.nan)


class Shown:
    """Of one vision system; within the event loop, one call after the other."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes, self.results = nodes, Results()

    async def empty(self, job: Job | None) -> None:
        """Nothing of a part before can be read any more: first of all not that it is good.

        Args:
            job: the one that begins.
        """
        part, mark = ("", "") if job is None else (job.part_id, job.id)
        await self._nodes.plain(Good=False, Valid=False, Outcome="", Reason="", ResultId="", **_NOTHING)
        await self._nodes.plain(PartId=part, JobId=mark, Refusal="")
        result = no_result() if job is None else result_of(job, job.recipe, "", PROCESSING, part, [])
        await self._nodes.result(result)

    async def outcome(self, job: Job, answer: Answer) -> None:
        """The outcome of a part."""
        decision = answer.decision
        numbers = {"Score": number_or_nan(decision.score), "Threshold": number_or_nan(decision.threshold)}
        number = str(answer.number)
        await self._nodes.plain(Good=False, Valid=False)  # of the part before, in a continuous job
        await self._nodes.plain(PartId=answer.part_id, ResultId=number, LatencyMs=answer.latency_ms, **numbers)
        outcome, reason = answer.outcome, answer.reason  # here it is asked whether there is time left
        await self._nodes.plain(Outcome=outcome, Reason=reason, Good=outcome == GOOD, Valid=True)
        recipe = replace(job.recipe, bundle=decision.bundle or job.recipe.bundle)
        state = FAILED if outcome == FAULT else COMPLETED
        content = [ua.Variant(each) for each in (outcome, reason, *numbers.values(), float(answer.latency_ms))]
        result = result_of(job, recipe, number, state, answer.part_id, content)
        await self._keep(result, f"part {answer.part_id}: {outcome}")

    async def fault(self, job: Job, reason: str, state: int) -> None:
        """A fault that the link itself found.

        Args:
            state: a value of ResultState.
        """
        await self._nodes.plain(Good=False, Outcome=FAULT, Reason=reason, **_NOTHING, ResultId=job.id, Valid=True)
        content = [ua.Variant(each) for each in (FAULT, reason, math.nan, math.nan, math.nan)]
        await self._keep(result_of(job, job.recipe, job.id, state, job.part_id, content), f"{FAULT}: {reason}")

    async def _keep(self, result: Any, text: str) -> None:
        self.results.keep(result)
        await self._nodes.result(result)
        await self._nodes.tell_result(result, text)
