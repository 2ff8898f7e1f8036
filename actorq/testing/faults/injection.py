"""`inject`: carries a plan of faults out while a body runs, and says what struck."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import trio

from actorq.system import System
from actorq.testing.faults.planned import Planned, note_fault
from actorq.testing.faults.values import Fault, Moment, Scene


#: pytest shows the reader's own lines, not ours; `--full-trace` shows all.
__tracebackhide__ = True


log = logging.getLogger("actorq.testing")

#: The actors of a queue, as `sys.actor` names them.
ACTORS = ("results", "broker", "middleware", "pool", "scheduler")


class Injection:
    """A plan that is carried out; what `inject` yields."""

    def __init__(self, plan: tuple[Fault, ...]) -> None:
        self.plan = plan
        self.struck: list[Fault] = []  #: in the order of the plan, once the body is over
        self.missed: list[Fault] = list(plan)  #: have not come to it
        self._armed: dict[int, Planned] = {}
        self._came: dict[int, float] = {}  #: when, on Trio's clock, by place in the plan

    def report(self) -> str:
        """A line for each: what struck when, and what never came to it."""
        self._look()
        lines = []
        for place, fault in enumerate(self.plan):
            moment = self._came.get(place)
            when = "never came to it" if moment is None else f"struck at {moment:g} s"
            lines.append(f"{fault!r}: {when}")
        return "\n".join(lines) or "no faults were planned"

    def __repr__(self) -> str:
        self._look()
        return f"<Injection: {len(self.struck)} of {len(self.plan)} struck>"

    def _look(self) -> None:
        for place, planned in self._armed.items():
            if planned.struck and planned.struck_at is not None:
                self._came[place] = planned.struck_at
        self.struck = [fault for place, fault in enumerate(self.plan) if place in self._came]
        self.missed = [fault for place, fault in enumerate(self.plan) if place not in self._came]


@asynccontextmanager
async def inject(
    sys: System | None, plan: Iterable[Fault], /, **named: object
) -> AsyncIterator[Injection]:
    """Carry *plan* out while the body runs; what has not struck by its end is taken off.

    The five actors of *sys* go by their names, as do its engines ("broker", "results", "schedules").
    *named*: further refs, processes and objects that the plan names.  Moments count from here.  Yields
    an `Injection`, whose `struck`, `missed` and `report()` say in the end what came of it; an exception
    from the body carries the report as a note.

    Raises `ValueError` if the plan names what is not there, `FaultForbidden` if a promise forbids a
    fault, and `RuntimeError` if one needs a simulation and there is none.  Always a checkpoint.
    """
    if isinstance(plan, Fault) or not isinstance(plan, Iterable):
        raise TypeError(
            f"a plan is a list of faults: inject(sys, [Crash('pool', at=1.0)]); got {plan!r}"
        )
    faults = tuple(plan)
    for each in faults:
        if not isinstance(each, Fault):
            raise TypeError(
                f"a plan is a list of faults, such as [Crash('pool', at=1.0)]; got {each!r} in it"
            )
    scene = Scene(_names(sys, named))
    injection = Injection(faults)
    began = trio.current_time()
    try:
        for place, fault in enumerate(faults):
            if isinstance(fault, Moment):
                fault.check(scene)
            else:
                injection._armed[place] = fault.arm(scene)
        async with _timetable(injection, scene, began):
            yield injection
    except Exception as error:
        error.add_note(f"the faults of this run:\n{injection.report()}")
        raise
    finally:
        for planned in injection._armed.values():
            planned.off()
        log.info("the faults of this run:\n%s", injection.report())


@asynccontextmanager
async def _timetable(injection: Injection, scene: Scene, began: float) -> AsyncIterator[None]:
    due = [
        (began + fault.at, place, fault)
        for place, fault in enumerate(injection.plan)
        if isinstance(fault, Moment)
    ]
    due.sort(key=lambda each: each[:2])
    scope = trio.CancelScope()
    over = trio.Event()

    async def strike() -> None:
        try:
            with scope:
                for moment, place, fault in due:
                    await trio.sleep_until(moment)
                    now = trio.current_time()
                    note_fault(repr(fault), "inject")
                    if fault.strike(scene):
                        injection._came[place] = now
        finally:
            over.set()

    # the system's, not a nursery's: the body's exception stays as it is
    if due:
        context = contextvars.copy_context()
        trio.lowlevel.spawn_system_task(strike, name="faults at their moments", context=context)
    try:
        yield
    finally:
        if due:
            scope.cancel("inject: the body is over")
            with trio.CancelScope(shield=True):
                await over.wait()


def _names(sys: System | None, named: dict[str, object]) -> dict[str, object]:
    names: dict[str, object] = {}
    if sys is not None:
        if not isinstance(sys, System):
            raise TypeError(
                f"inject() expects an open system, or None and names: inject(None, plan, "
                f"counter=ref); got {sys!r}"
            )
        for actor in ACTORS:
            names[actor] = sys.actor(actor)
        names["engine of broker"] = sys._broker
        names["engine of results"] = sys._broker.result_backend
        if sys._broker.schedule_sources:
            names["engine of schedules"] = sys._broker.schedule_sources[0]
            names["schedules"] = sys._broker.schedule_sources[0]
    return {**names, **named}
