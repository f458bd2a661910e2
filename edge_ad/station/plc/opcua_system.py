"""One vision system: a camera of the station, its state machine, its jobs and their results.

A job is a trigger with a part id. Its result is there when the outcome is durable. What a controller reads is emptied
when a job starts, so that nothing of a part before is ever taken for it; "good" is written while the part's deadline is
not over, and never later.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import itertools
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from asyncua import Server, ua

from edge_ad.errors import SourceError, SpecError
from edge_ad.station.outcomes import LATE
from edge_ad.station.plc import opcua_model as model
from edge_ad.station.plc.base import Answer, Host
from edge_ad.station.plc.opcua_calls import Refused, id_of, id_variant, no_error, value_of
from edge_ad.station.plc.opcua_model import (
    ABORTED,
    CONTINUOUS,
    ERROR,
    FAILED,
    HALTED,
    INITIALIZED,
    OPERATIONAL,
    PREOPERATIONAL,
    READY,
    SINGLE,
)
from edge_ad.station.plc.opcua_nodes import Nodes
from edge_ad.station.plc.opcua_prepared import Prepared
from edge_ad.station.plc.opcua_recipes import Recipes
from edge_ad.station.plc.opcua_results import Job
from edge_ad.station.plc.opcua_shown import Shown
from edge_ad.station.plc.opcua_states import NotNow, States, Step
from edge_ad.station.plc.opcua_types import Types, made

if TYPE_CHECKING:
    from edge_ad.station.config import Camera

_log = logging.getLogger("edge_ad.station")


class VisionSystem:
    """See the module. Everything runs in the event loop, one thing at a time; what the host calls is handed over to it.

    Args:
        run: mark of this run of the station, so that ids of jobs never come again.
    """

    def __init__(self, server: Server, types: Types, host: Host, camera: Camera, run: str) -> None:
        self._host, self._camera, self._run = host, camera, run
        self._loop = asyncio.get_running_loop()
        self._nodes = Nodes(server, types, camera.name)
        self._lock = asyncio.Lock()
        self._steps: list[Step] = []
        self._states = States(self._steps.append)
        self._prepared = Prepared(self._nodes, self._states, Recipes(host, camera.name))
        self._count = itertools.count(1)
        self._job: Job | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stops = False  # the job that runs is the last: Stop was called
        self._continues = camera.trigger != "software"  # what to do when it is ready
        self._not_ready = ""
        self._shown = Shown(self._nodes)
        self._tasks: set[asyncio.Task[None]] = set()
        self._unlisten: Callable[[], None] = lambda: None

    async def begin(self) -> None:
        """Makes its nodes, and takes jobs."""
        await self._nodes.build({name: partial(self._call, name) for name in model.METHODS})
        await self._nodes.begin(PREOPERATIONAL)
        async with self._turn():
            self._states.go(OPERATIONAL, "Auto")
            await self._watch()
        self._unlisten = self._host.listen(self._heard)

    def end(self) -> None:
        """Nothing comes any more."""
        self._unlisten()
        self._drop_timer()

    async def halt(self) -> None:
        """The station stops: no job is good any more, and none may start."""
        async with self._turn():
            await self._end_job("the station stops")
            if self._states.top != HALTED:
                with contextlib.suppress(NotNow):
                    self._states.go(HALTED, "Auto" if self._states.top == OPERATIONAL else "")

    # ------------------------------------------------------------------------------------------------ turns

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One thing at a time; afterwards the nodes and the events say what has changed."""
        async with self._lock:
            try:
                yield
            finally:
                await self._tell_steps()

    async def _tell_steps(self) -> None:
        steps, self._steps[:] = [*self._steps], []
        if not steps:
            return
        for step in steps:
            await self._nodes.step(step)
        await self._say_ready()
        for step in steps:
            names = ["StateChangedEventType"]
            names += ["ErrorEventType"] if step.after == ERROR else []
            names += ["ErrorResolvedEventType"] if step.before == ERROR else []
            for name in names:
                text = self._not_ready if name == "ErrorEventType" else f"{step.before} to {step.after}"
                await self._nodes.tell_step(step, name, text)

    async def _say_ready(self) -> None:
        why = "" if self._states.is_ready else self._not_ready or f"the state is {self._states.now}"
        await self._nodes.plain(Ready=self._states.is_ready, NotReady=why)

    async def watch(self) -> None:
        """Looks whether the camera is there, and what it inspects with; called some times a second."""
        async with self._turn():
            await self._watch()

    async def _watch(self) -> None:
        states = self._states
        self._not_ready = await self._prepared.look()
        waits = self._prepared.opens  # for its recipe: that is no error
        if self._not_ready and states.top == OPERATIONAL:
            if states.inner == CONTINUOUS:
                await self._end_job(self._not_ready)
            if not waits:
                states.go(ERROR, "Auto")
            elif states.inner == CONTINUOUS:
                states.go(READY, "Auto")
            if states.inner == READY:
                states.go(INITIALIZED, "Auto")
        elif states.top == ERROR and (waits or not self._not_ready) and self._job is None:
            states.go(OPERATIONAL, "Auto")
        if states.inner == INITIALIZED and self._prepared.is_prepared and not self._not_ready:
            states.go(READY, "Auto")
        if states.inner == READY and self._continues:
            job = self._begin_continuous("", "", "Auto")
            await self._shown.empty(job)
            await self._tell_job(job, "an outcome for each part that the camera sees")

    # ------------------------------------------------------------------------------------------------ methods

    async def _call(self, name: str, parent: Any, *given: ua.Variant) -> Any:
        """A method that a client calls."""
        try:
            async with self._turn():
                takes = model.METHODS[name].takes
                if len(given) != len(takes):
                    raise Refused(ua.StatusCodes.BadArgumentsMissing, f"{name} takes {len(takes)} arguments")
                method: Callable[..., Awaitable[list[ua.Variant]]] = getattr(self, f"_{_snake(name)}")
                values = [value_of(field, variant) for field, variant in zip(takes, given, strict=True)]
                return await method(*values)
        except NotNow as error:
            code, text = ua.StatusCodes.BadInvalidState, str(error)
        except Refused as error:
            code, text = error.code, str(error)
        _log.debug("OPC UA: %s of camera %s is refused: %s", name, self._camera.name, text)
        await self._nodes.plain(Refusal=text)
        return ua.StatusCode(code)

    async def _start_single_job(self, meas: Any, part: Any, recipe: Any, product: Any, more: Any) -> list[ua.Variant]:
        if self._camera.trigger != "software":
            text = 'this camera takes no triggers; write trigger = "software", or call StartContinuous'
            raise Refused(ua.StatusCodes.BadNotSupported, text)
        await self._watch()  # the recipe may have changed just now
        self._states.need(READY)
        self._check_job(recipe, more)
        job = self._new_job(id_of(part, "PartId"), id_of(meas, "MeasId"), id_of(product, "ProductId"))
        job = job if job.part_id else replace(job, part_id=job.id)
        try:
            why, limit_s = self._host.not_ready(self._camera.name), self._host.deadline_ms(self._camera.name) / 1e3
            if not why:
                self._host.ask(self._camera.name, job.part_id, partial(self._answered, job.id), job.recipe.number)
        except (SpecError, SourceError) as error:
            why = str(error)
        if why:
            raise Refused(ua.StatusCodes.BadInvalidState, why)
        self._job, self._stops = job, False
        self._timer = self._loop.call_later(limit_s, self._soon, self._late, job.id)
        self._states.go(SINGLE)
        await self._shown.empty(job)
        await self._tell_job(job, f"part {job.part_id}")
        return [id_variant("JobIdDataType", job.id), no_error()]

    async def _start_continuous(self, meas: Any, part: Any, recipe: Any, product: Any, more: Any) -> list[ua.Variant]:
        self._states.need(READY)
        self._check_job(recipe, more)
        if id_of(part, "PartId"):
            raise Refused(ua.StatusCodes.BadInvalidArgument, "many parts have no common PartId; leave it empty")
        job = self._begin_continuous(id_of(meas, "MeasId"), id_of(product, "ProductId"), "")
        self._continues = True
        await self._shown.empty(job)
        await self._tell_job(job, "an outcome for each part")
        return [id_variant("JobIdDataType", job.id), no_error()]

    def _begin_continuous(self, meas: str, product: str, way: str) -> Job:
        self._states.go(CONTINUOUS, way)
        self._job, self._stops = self._new_job("", meas, product), False
        return self._job

    def _check_job(self, recipe: Any, more: Any) -> None:
        if more:
            raise Refused(ua.StatusCodes.BadInvalidArgument, "a job takes no Parameters")
        self._prepared.check(id_of(recipe, "RecipeId"))

    def _new_job(self, part_id: str, meas: str, product: str) -> Job:
        now = datetime.datetime.now(datetime.timezone.utc)
        return Job(f"{self._run}-{next(self._count)}", part_id, meas, product, self._prepared.recipe, now)

    async def _tell_job(self, job: Job, text: str) -> None:
        await self._tell_steps()
        identity = made("JobIdDataType", Id=job.id)
        await self._nodes.tell("JobStartedEventType", f"job {job.id}: {text}", JobId=identity)

    async def _stop(self, cause: Any, text: Any) -> list[ua.Variant]:
        self._states.need(SINGLE, CONTINUOUS)
        if self._states.inner == SINGLE:
            self._stops = True  # when the part has its outcome
        else:
            await self._end_continuous("Stop")
        return [no_error()]

    async def _abort(self, cause: Any, text: Any) -> list[ua.Variant]:
        self._states.need(SINGLE, CONTINUOUS)
        if self._states.inner == SINGLE:
            await self._end_job("Abort was called", "Abort")
        else:
            await self._end_continuous("Abort")
        return [no_error()]

    async def _halt(self, cause: Any, text: Any) -> list[ua.Variant]:
        self._states.need(PREOPERATIONAL, ERROR, INITIALIZED, READY, SINGLE, CONTINUOUS)
        await self._end_job("Halt was called")
        self._states.go(HALTED)
        return [no_error()]

    async def _reset(self, cause: Any, text: Any) -> list[ua.Variant]:
        self._states.need(HALTED, ERROR, INITIALIZED, READY, SINGLE, CONTINUOUS)
        await self._end_job("Reset was called")
        self._continues = False
        self._states.go(PREOPERATIONAL)
        await self._shown.empty(None)
        return [no_error()]

    async def _select_mode_automatic(self) -> list[ua.Variant]:
        self._states.need(PREOPERATIONAL)
        self._states.go(OPERATIONAL)
        await self._watch()
        return [no_error()]

    # ---------------------------------------------------------------------------------------- recipes, results

    async def _prepare_recipe(self, external: Any, internal: Any) -> list[ua.Variant]:
        answer = await self._prepared.prepare(external, internal)
        await self._watch()
        return answer

    async def _unprepare_recipe(self, external: Any, internal: Any) -> list[ua.Variant]:
        return await self._prepared.unprepare(external, internal)

    async def _get_recipe_list_filtered(self, *given: Any) -> list[ua.Variant]:
        return self._prepared.listed(*given[:-1])

    async def _get_result_by_id(self, given: Any, timeout: Any) -> list[ua.Variant]:
        return self._shown.results.by_id(id_of(given, "ResultId"))

    async def _get_result_list_filtered(self, *given: Any) -> list[ua.Variant]:
        return self._shown.results.filtered(*given)

    async def _release_result_handle(self, handle: int) -> list[ua.Variant]:
        if handle:
            raise Refused(ua.StatusCodes.BadInvalidArgument, "no handles are given, so there is none to release")
        return [no_error()]

    # ------------------------------------------------------------------------------------------------ outcomes

    def _soon(self, work: Callable[..., Awaitable[None]], *given: Any) -> None:
        """Starts work in the event loop, which calls this."""
        task = self._loop.create_task(self._safely(work, *given))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _safely(self, work: Callable[..., Awaitable[None]], *given: Any) -> None:
        try:
            await work(*given)
        except Exception:  # of any kind; the next part must have its outcome
            _log.exception("OPC UA, camera %s", self._camera.name)

    def _hand_over(self, work: Callable[..., Awaitable[None]], *given: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the link has ended
            self._loop.call_soon_threadsafe(self._soon, work, *given)

    def _answered(self, job: str, answer: Answer) -> None:
        """By the thread of the journal."""
        self._hand_over(self._finish, job, answer)

    def _heard(self, answer: Answer) -> None:
        """By the thread of the journal."""
        if answer.camera == self._camera.name and self._states.inner == CONTINUOUS:
            self._hand_over(self._show, answer)

    async def _finish(self, job: str, answer: Answer) -> None:
        async with self._turn():
            if self._job is None or self._job.id != job:
                return  # it was aborted, or is late
            self._drop_timer()
            await self._shown.outcome(self._job, answer)
            await self._close_job(self._job, "Stop" if self._stops else "Auto")

    async def _close_job(self, job: Job, way: str) -> None:
        self._job = None
        if self._states.inner == SINGLE:
            self._states.go(READY, way)
        await self._tell_steps()
        if self._states.is_ready:
            identity = made("JobIdDataType", Id=job.id)
            await self._nodes.tell("ReadyEventType", f"job {job.id} has ended", JobId=identity)

    async def _late(self, job: str) -> None:
        """The time is up, and the station has said nothing."""
        async with self._turn():
            if self._job is not None and self._job.id == job:
                ended, self._timer = self._job, None
                await self._shown.fault(ended, f"{LATE}: there was no outcome at the deadline", FAILED)
                await self._close_job(ended, "Auto")

    async def _end_job(self, why: str, way: str = "") -> None:
        """Ends the job that runs, if one does, without its outcome."""
        job = self._job
        if job is None:
            return
        self._drop_timer()
        if job.part_id:
            await self._shown.fault(job, f"aborted: {why}; the journal has what became of the part", ABORTED)
        else:
            await self._shown.empty(None)
        if way:
            await self._close_job(job, way)
        self._job = None

    async def _end_continuous(self, way: str) -> None:
        self._job, self._continues = None, False
        self._drop_timer()
        self._states.go(READY, way)
        await self._shown.empty(None)

    async def _show(self, answer: Answer) -> None:
        """In a continuous job: an outcome of the camera, which is shown until its deadline."""
        async with self._turn():
            if self._job is None or self._states.inner != CONTINUOUS:
                return
            self._drop_timer()
            await self._shown.outcome(self._job, answer)
            left_s = max(0.0, (answer.deadline_ns - time.monotonic_ns()) / 1e9)
            self._timer = self._loop.call_later(left_s, self._soon, self._expire, self._job.id)

    async def _expire(self, job: str) -> None:
        async with self._turn():
            if self._job is not None and self._job.id == job and self._states.inner == CONTINUOUS:
                self._timer = None
                await self._shown.empty(self._job)

    def _drop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    @property
    def state(self) -> str:
        """For people."""
        return self._states.now


def _snake(name: str) -> str:
    return "".join(f"_{each.lower()}" if each.isupper() else each for each in name).lstrip("_")
