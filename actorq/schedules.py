"""`sys.schedules`: the schedules of an open system, in whichever source they are kept."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from actorq.errors import ScheduleNotFound
from actorq.handle import TaskHandle
from actorq.schedule import CatchUp, Overlap, Trigger
from actorq.schedule_source import ScheduleHandle, ScheduleInfo, ScheduleSource
from actorq.schedule_state import Slot
from actorq.task import Task


if TYPE_CHECKING:
    from actorq.system import System


class Schedules:
    """Add, list, pause, resume and remove schedules while the system runs.

    They are kept in the first source of the broker (`with_schedule_source`), in memory unless told.
    """

    def __init__(self, system: System, sources: Sequence[ScheduleSource]) -> None:
        self.scheduler = secrets.token_hex(8)  #: how this system's scheduler is named in a source
        self._system = system
        self._sources = sources

    async def add(
        self,
        task: Task[..., Any] | str,
        trigger: Trigger,
        /,
        *args: Any,
        kwargs: Mapping[str, Any] | None = None,
        schedule_id: str | None = None,
        catch_up: CatchUp | str | None = None,
        overlap: Overlap | str | None = None,
        jitter: float | timedelta | None = None,
    ) -> ScheduleHandle:
        """Enqueue *task* in each slot of *trigger* from now on.  See `ScheduleSource.add`.

        The workers of this system know the task from then on, if it is not given by its name.
        """
        if isinstance(task, Task):
            await self._system.register(task)
        return await self._sources[0].add(
            task,
            trigger,
            *args,
            kwargs=kwargs,
            schedule_id=schedule_id,
            catch_up=catch_up,
            overlap=overlap,
            jitter=jitter,
        )

    async def list(self) -> tuple[ScheduleInfo, ...]:
        """Every schedule that has something to come, the next one first."""
        infos = [info for source in self._sources for info in await source.list()]
        return tuple(sorted(infos, key=ScheduleInfo.order))

    async def get(self, schedule_id: str) -> ScheduleInfo | None:
        """One schedule; None if it is not there, or over."""
        for source in self._sources:
            info = await source.get(schedule_id)
            if info is not None:
                return info
        return None

    async def pause(self, schedule_id: str) -> None:
        """See `ScheduleSource.pause`."""
        await (await self._source_of(schedule_id)).pause(schedule_id)

    async def resume(self, schedule_id: str) -> None:
        """See `ScheduleSource.resume`."""
        await (await self._source_of(schedule_id)).resume(schedule_id)

    async def remove(self, schedule_id: str) -> bool:
        """See `ScheduleSource.remove`."""
        for source in self._sources:
            if await source.remove(schedule_id):
                return True
        return False

    async def run_now(self, schedule_id: str) -> TaskHandle[Any]:
        """Enqueue its task now, besides its slots, whatever its policies say; paused or not.

        Raises `ScheduleNotFound`, and as `System.enqueue` does.
        """
        system = self._system
        source = await self._source_of(schedule_id)
        schedule = await source.fetch(schedule_id)
        if schedule is None:
            raise ScheduleNotFound(f"schedule {schedule_id!r} was removed just now")
        here = system.environment
        slot = Slot(schedule_id, here.wall(), schedule.call, manual=here.new_id())
        task_id = await system._fire(slot)
        await source.change(
            schedule_id,
            lambda known: None if known is None else known.noted(slot, fired=True, task_id=task_id),
        )
        task = system.wiring.tasks.get(schedule.call.task_name)
        return TaskHandle(system, task_id, task, known=True)

    async def _source_of(self, schedule_id: str) -> ScheduleSource:
        for source in self._sources:
            if await source.get(schedule_id) is not None:
                return source
        raise ScheduleNotFound(
            f"there is no schedule {schedule_id!r}: it was never added here, was removed, or was a "
            f"one-shot and has been fired"
        )
