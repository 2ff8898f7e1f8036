"""Engines in memory that do what comes together in one step, or cannot do anything for a while."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial, wraps
from typing import Any

import trio

import actorq
from actorq.actors.result_backend import ResultBackend
from actorq.engine import Claim, Engine, EngineInDoubt, EngineUnavailable, Step, Store, Unread
from actorq.message import Delivery
from actorq.protocol import Settlement
from actorq.result import TaskResult


class Together(actorq.InMemoryBroker):
    """All that came since the last flush is one step, before and after which others may run."""

    grouped = True

    def __init__(
        self, *, lease: float = 30.0, steps: int = 1, overlaps: bool = False, seconds: float = 0.0
    ) -> None:
        super().__init__(lease=lease, encoded=True)
        self.steps = steps
        self.overlaps = overlaps
        self.seconds = seconds  #: that a call takes, besides
        self.batches: list[int] = []  #: how many steps each call had
        self.stored: dict[str, list[TaskResult[Any]]] = defaultdict(list)

    def stores_results_of(self, backend: ResultBackend) -> bool:
        return isinstance(backend, actorq.InMemoryResultBackend)

    async def perform(self, steps: Sequence[Step], now: float) -> Sequence[Any]:
        for _ in range(self.steps):
            await trio.lowlevel.checkpoint()
        self.batches.append(len(steps))
        answers = self._all(steps, now)
        if self.seconds:
            await trio.sleep(self.seconds)
        for _ in range(self.steps):
            await trio.lowlevel.checkpoint()
        return answers

    async def perform_unread(self, steps: Sequence[Step], now: float) -> Sequence[Any]:
        return [
            Unread(len(answer), partial(self._read, answer)) if isinstance(step, Claim) else answer
            for step, answer in zip(steps, await self.perform(steps, now), strict=True)
        ]

    async def _read(self, found: tuple[Delivery, ...]) -> tuple[Delivery, ...]:
        for _ in range(self.steps):
            await trio.lowlevel.checkpoint()
        return found

    @trio.lowlevel.enable_ki_protection
    def _all(self, steps: Sequence[Step], now: float) -> list[Any]:
        return [self._one(step, now) for step in steps]

    def _one(self, step: Step, now: float) -> Any:
        if isinstance(step, Claim):
            return at_once(self.claim(step.session, step.limit, now))
        if isinstance(step, Store):
            try:
                return at_once(self.store(step.messages, now))
            except actorq.ActorqError as refusal:
                return refusal
        return tuple([self._end(step.session, each, now) for each in step.settlements])

    def _end(self, session: int, settlement: Settlement, now: float) -> bool | Exception:
        outcome = settlement.outcome
        data = None
        if outcome is not None:
            try:
                data = self.wire.encode_result(outcome.task_id, outcome.result)
            except actorq.ActorqError as error:
                return error
        (taken,) = at_once(self.settle(session, [settlement], now))
        if taken and outcome is not None and outcome.result is not None:
            kept = TaskResult(return_value=data, attempts=outcome.result.attempts)
            self.storage.results.put(outcome.task_id, kept)
            self.stored[outcome.task_id].append(outcome.result)
        return bool(taken)


class Doubtful(Together):
    """Of some calls it does not know for a while whether they were done: until asked again, or twice.

    A fate for each call: "done"; "after": done, and in doubt; "before": in doubt, and not done yet;
    "longer": in doubt still; "cannot".
    """

    def __init__(self, fates: Sequence[str], *, overlaps: bool = False) -> None:
        super().__init__(overlaps=overlaps)
        self.fates = list(fates)
        self.doubt: tuple[Sequence[Step], Sequence[Any] | None] | None = None

    async def perform(self, steps: Sequence[Step], now: float) -> Sequence[Any]:
        fate = self.fates.pop(0) if self.fates else "done"
        answers: Sequence[Any] | None = None
        if self.doubt is not None:
            doubted, answers = self.doubt
            assert steps is doubted, "something came before it was known"
            if fate in ("longer", "cannot"):
                raise EngineInDoubt("the server does not answer")
        elif fate == "cannot":
            raise EngineUnavailable("the server is gone")
        if answers is None and fate != "before":
            answers = await super().perform(steps, now)
        if fate in ("before", "after", "longer"):
            self.doubt = steps, answers
            raise EngineInDoubt("the connection broke")
        self.doubt = None
        assert answers is not None
        return answers


def at_once(call: Awaitable[Any]) -> Any:
    """What an engine in memory answers without waiting."""
    walk = call.__await__()
    try:
        next(walk)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


class Unwell:
    """Mixed in before a broker: its engine cannot do anything in some spans of time."""

    spans: Sequence[tuple[float, float]] = ()

    def ails(self) -> bool:
        """Whether it is one of these, now."""
        now = trio.current_time()
        return any(begin <= now < end for begin, end in self.spans)


def unwell(
    kind: type[actorq.InMemoryBroker], spans: Sequence[tuple[float, float]], **options: Any
) -> Any:
    """A broker of *kind* whose every call raises `EngineUnavailable` in these spans of time."""

    def ailing(call: Callable[..., Awaitable[Any]]) -> Any:
        @wraps(call)
        async def called(self: Any, *args: Any, **kwargs: Any) -> Any:
            if self.ails():
                raise EngineUnavailable("the disk is full; make room, and it goes on")
            return await call(self, *args, **kwargs)

        return called

    names = {
        name
        for name, _ in inspect.getmembers(Engine, inspect.iscoroutinefunction)
        if not name.startswith("_")
        and name not in ("startup", "shutdown", "listen", "open_session")
    }
    calls = {name: ailing(getattr(kind, name)) for name in names}
    made = type(f"Unwell{kind.__name__}", (Unwell, kind), {**calls, "spans": spans})
    return made(**options)
