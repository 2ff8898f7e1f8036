"""Idempotence: a task is run under crashes and redeliveries, and its effect must be what it was without.

A worker runs the task as it would in earnest, in the memory engine.  It is killed at every crash point
from the moment on in which it gets the task to the one in which the queue knows that it has ended; it is
stopped there, and goes on when another has done the work; and there are pairs of these.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

import attrs

from actorq.actors.broker import Broker
from actorq.engines.memory.broker import InMemoryBroker
from actorq.engines.memory.storage import MemoryStorage
from actorq.options import AckMode
from actorq.system import open_system
from actorq.task import Task
from actorq.testing.exploration import CrashFound, CrashReport, Exploration, Run, name_of
from actorq.testing.extent import Extent
from actorq.testing.stand_in import StandIn
from actorq.testing.story import error_told, events_told, strikes_told
from actorq.testing.tape import Tape


#: pytest shows the reader's own lines, not ours; `--full-trace` shows all.
__tracebackhide__ = True


W = TypeVar("W")

#: The id under which the task is enqueued.
TASK_ID: Final = "the-task"
#: Pairs of crash points, and of a stall and its end, that are tried unless told.
PAIRS: Final = 25


class NotIdempotent(CrashFound):
    """A crash or a redelivery changed what the task had done in the end."""


def assert_idempotent(
    task: Task[..., Any],
    /,
    *args: Any,
    observe: Callable[..., object],
    world: Callable[[], W] | None = None,
    broker: Callable[..., Broker] | None = None,
    setup: Callable[[], object] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    tape: Tape | None = None,
    tapes: Iterable[Tape] | None = None,
    stalls: bool = True,
    pairs: int | None = PAIRS,
    limit: float = 10_000.0,
    only: int | Sequence[int] | None = None,
) -> CrashReport:
    """Run *task* with these arguments under crashes and redeliveries; its effect must be the same.

    *observe* tells the effect: what was charged, sent, written, as a value that can be compared.  It is
    called with the world when everything has ended, once without any crash, then after each run with
    one.  *world* makes what survives the process, anew for each run: the fakes of outside services.  The
    task gets it where it asks for a dependency of that type; for more, *broker* makes the worker's
    broker from the world, with dependencies, middlewares and startup handlers.  Unless told it is the
    task's own, or a bare one, in memory in any case.  With fakes at the top of a module instead, leave
    out *world*, and let *setup* empty them before each run.

    *kwargs*: further arguments of the task.  *tape*, *tapes*: the schedules to explore under; creation
    order unless told.  *stalls*: False: leave out workers that stop and go on later.  *pairs*: how many
    second crashes are tried, drawn evenly from all (None: all).  *limit*: virtual seconds for each run.
    *only*: to run nothing else, as a failure says it.

    Raises `NotIdempotent` with the story of the smallest failing point.
    """
    if not isinstance(task, Task):
        raise TypeError(
            f"assert_idempotent() expects a task made with @actorq.task, and its arguments after it: "
            f"assert_idempotent(charge, 'order-1', observe=...); got {task!r}"
        )
    for name, given in (
        ("observe", observe),
        ("world", world),
        ("broker", broker),
        ("setup", setup),
    ):
        if given is not None and not callable(given):
            raise TypeError(
                f"{name} expects a function, such as observe=lambda shop: shop.charges, world=Shop; "
                f"got {given!r}"
            )
    extent = Extent.read(tape, tapes, only, pairs, stalls)
    staging = Staging(task, args, dict(kwargs or {}), observe, world, broker, setup)
    exploration = Idempotence(staging, limit)
    overrides = None if task.broker is None else dict(task.broker.dependency_overrides)
    try:
        return exploration.explore(extent)
    finally:
        if task.broker is not None and overrides is not None:
            task.broker.dependency_overrides = overrides


@attrs.define
class Stage(Generic[W]):
    """What survives a process of one run."""

    world: W
    storage: MemoryStorage = attrs.field(factory=MemoryStorage)


class Staging(Generic[W]):
    """How the task is run: the parts of a run that are the same in each."""

    def __init__(
        self,
        task: Task[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        observe: Callable[..., object],
        world: Callable[[], W] | None,
        broker: Callable[..., Broker] | None,
        setup: Callable[[], object] | None,
    ) -> None:
        self.task = task
        self.args = args
        self.kwargs = kwargs
        self.observe = observe
        self.world = world
        self.broker = broker
        self.setup = setup
        self.expected: list[object] = []  #: what was observed without a crash

    @property
    def name(self) -> str:
        """Of the task, in short."""
        return self.task.name.rpartition(":")[2].rpartition(".")[2]

    def new(self) -> Stage[Any]:
        """Before a run."""
        if self.setup is not None:
            self.setup()
        return Stage(None if self.world is None else self.world())

    async def work(self, stage: Stage[Any]) -> None:
        """The main function of a worker's process."""
        broker = Worker(self._broker(stage), stage.storage)
        if self.world is not None:
            broker.dependency_overrides[type(stage.world)] = lambda: stage.world
        async with open_system(broker, tasks=[self.task], concurrency=1) as system:
            if stage.storage.queue.locate(TASK_ID) == "unknown":
                once = self.task.using(task_id=TASK_ID)
                await system.enqueue(once, *self.args, **self.kwargs)
            await system.wait_idle(scheduled=True)

    def _broker(self, stage: Stage[Any]) -> Broker:
        if self.broker is not None:
            made: object = _called(self.broker, stage.world, has_world=self.world is not None)
            if not isinstance(made, Broker):
                raise TypeError(
                    f"broker= expects a function that returns a broker, such as "
                    f"lambda shop: InMemoryBroker(); it returned {made!r}"
                )
            return made
        return self.task.broker or InMemoryBroker()

    async def look(self, stage: Stage[Any]) -> None:
        """Compare, when a run has ended; the first one is what the others are compared with."""
        if not self.expected:
            for dead in stage.storage.queue.dead.values():
                raise _Fails(f"the task failed for good: {dead.reason}")
        seen: Any = _called(self.observe, stage.world, has_world=self.world is not None)
        if inspect.isawaitable(seen):
            seen = await seen
        seen = copy.deepcopy(seen)
        if not self.expected:
            self.expected.append(seen)
        elif seen != self.expected[0]:
            raise _Differs(seen)


class _Differs(AssertionError):
    """The observation is another than without a crash."""

    def __init__(self, seen: object) -> None:
        self.seen = seen
        super().__init__(f"observed: {told(seen)}")


class _Fails(AssertionError):
    """The task does not do its work."""


class Worker(StandIn):
    """One process's broker, in memory: on the storage that is left, whatever became of the last one."""

    def __init__(self, original: Broker, storage: MemoryStorage) -> None:
        super().__init__(original)
        self.storage = storage
        self.queue = storage.queue
        self.queue.lease = self.lease
        for middleware in self.middlewares:
            middleware._system = None  # the dead one did not take its leave

    @property
    def _taken(self) -> bool:
        return self._is_taken

    @_taken.setter
    def _taken(self, taken: bool) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self._is_taken = taken


class Idempotence(Exploration[Stage[Any]]):
    """Tells what it finds as `NotIdempotent`."""

    def __init__(self, staging: Staging[Any], limit: float) -> None:
        super().__init__(staging.work, staging.look, staging.new, limit=limit)
        self.invariant_failed = "observe failed"
        self._staging = staging

    def numbers(self, names: Sequence[str]) -> range:
        """From the claim of the task to its last settlement: it is not begun before, and over then."""
        claims = [
            i for i, name in enumerate(names, 1) if name.endswith("broker.claim() and its answer")
        ]
        settles = [i for i, name in enumerate(names, 1) if "broker.settle()" in name]
        if not claims or not settles:
            return range(0)
        return range(claims[0], settles[-1] + 1)

    def cause(self, run: Run[Stage[Any]]) -> BaseException | None:
        """None for what only we raise."""
        return None if isinstance(run.error, _Differs | _Fails) else run.error

    def failure(self, run: Run[Stage[Any]]) -> Exception:
        """With the story of *run*."""
        name = self._staging.name
        expected = self._staging.expected
        error = run.error
        if isinstance(error, _Fails):
            return NotIdempotent(f"{name} does not work even without any crash: {error}")
        if not run.strikes and not isinstance(error, _Differs):
            lines = [f"without any crash, {run.problem}; nothing was tried", "", *error_told(run)]
            return NotIdempotent("\n".join(lines))
        advice: Sequence[str] = ()
        if not isinstance(error, _Differs):
            lines = [f"{name} did not end well after a crash: {run.problem}", "", *error_told(run)]
        else:
            what, advice = self._verdict(expected[0], error.seen, stalls=run.stalls)
            lines = [
                f"{name} is not idempotent: {what}",
                "",
                f"    without a crash:  {told(expected[0])}",
                f"    with this one:    {told(error.seen)}",
            ]
        lines += ["", *strikes_told(run, len(self.names))]
        lines += ["", "What happened:", *events_told(run)]
        if advice:
            lines += ["", "What to do:", *[f"    {line}" for line in advice]]
        lines += ["", "To run this again and nothing else:", f"    {self._again(run)}"]
        return NotIdempotent("\n".join(lines), run.strikes)

    def _verdict(
        self, expected: object, seen: object, *, stalls: bool
    ) -> tuple[str, Sequence[str]]:
        before, after = _size(expected), _size(seen)
        if after > before:
            how = "a worker that stood still" if stalls else "a crash"
            return f"{how} made its effect happen twice", _REPEATED
        if after < before:
            early = self._staging.task.options.ack is AckMode.WHEN_RECEIVED
            return "a crash took away a part of its effect", _AT_MOST_ONCE if early else _MISSING
        return "a crash changed its effect", _REPEATED

    def _again(self, run: Run[Stage[Any]]) -> str:
        staging = self._staging
        arguments = [staging.name, *map(repr, staging.args)]
        if staging.kwargs:
            arguments.append(f"kwargs={dict(staging.kwargs)!r}")
        for name in ("observe", "world", "broker", "setup"):
            given = getattr(staging, name)
            if given is not None:
                known = name_of(given)
                arguments.append(f"{name}={'...' if known == '<lambda>' else known}")
        if self.tape.choices:
            arguments.append(f"tape={self.tape!r}")
        arguments.append(f"stalls={run.stalls}")
        arguments.append(f"only={run.strikes[0] if len(run.strikes) == 1 else run.strikes}")
        return f"assert_idempotent({', '.join(arguments)})"


_REPEATED: Final = (
    "A queue that loses nothing runs a task again when its worker died, from its first line on.",
    "So make what it does harmless to repeat: give the outside service a key that is the same in each",
    "attempt (the order's id, or ctx.task_id), or look first whether it has been done.",
)
_MISSING: Final = (
    "The task left something half done, and took it for done when it ran again.",
    "Note that a thing is done after it was done, not before.",
)
_AT_MOST_ONCE: Final = (
    "It has ack='when_received': at most once, so a crash may lose it.",
    "With the default, ack='when_saved', it is run again.",
)


def told(observation: object) -> str:
    """An observation on a line: a mapping as `name=value`."""
    if isinstance(observation, Mapping):
        return ", ".join(f"{key}={value!r}" for key, value in observation.items()) or "{}"
    return repr(observation)


def _size(observation: object) -> float:
    """How much there is: what tells "twice" from "never"."""
    if isinstance(observation, Mapping):
        return sum(_size(value) for value in observation.values())
    if isinstance(observation, Collection) and not isinstance(observation, str | bytes):
        return len(observation)
    return observation if isinstance(observation, int | float) else 0


def _called(function: Callable[..., Any], world: object, *, has_world: bool) -> Any:
    """With the world, if there is one, and the function takes it."""
    try:
        inspect.signature(function).bind(world)
    except TypeError:
        return function()
    except ValueError:  # a builtin that does not tell
        return function(world) if has_world else function()
    return function(world)
