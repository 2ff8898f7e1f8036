"""The supervisor: starts children in order, restarts them by rule, stops them in reverse order.

Owns its children's cells and tasks.  One task for each child turns the child's end into an event;
one loop decides.  A child's exception never reaches the supervisor's nursery by itself: it would
cancel the siblings.  Restarts are carried out by tasks of their own ("plans"), so that the loop
goes on obeying: a stop, or another child's crash, gets in between (promise 23).
"""

from __future__ import annotations

import contextvars
import logging
import math
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import attrs
import trio
from trio_util import wait_any

from actorq.actor import Actor
from actorq.cell import Cell
from actorq.dead_letters import DeadLetters
from actorq.errors import ActorFailed, ActorStopped, NameTaken, SupervisorFailed
from actorq.incarnation import Exit, ExitKind, Incarnation
from actorq.ref import ActorRef
from actorq.restart import Backoff, Incidents, Restart, Strategy, affected
from actorq.statistics import MailboxStatistics, SupervisorStatistics
from actorq.tap import Tap
from actorq.whereabouts import sits_at, tasks_below


log = logging.getLogger("actorq.supervisor")

M = TypeVar("M")

DEFAULT_CAPACITY = 1_000
DEFAULT_DRAIN = 5.0
DEFAULT_GRACE = 5.0


@attrs.frozen
class ActorSpec:
    """How to make and keep one actor."""

    factory: Callable[[], Actor[Any]]  #: called for each life
    name: str
    restart: Restart = Restart.PERMANENT
    capacity: float = (
        DEFAULT_CAPACITY  #: messages that may wait; 0 = hand over, math.inf = no bound
    )
    drain: float = (
        DEFAULT_DRAIN  #: seconds to finish queued messages (or, in a restart, the current)
    )
    grace: float = DEFAULT_GRACE  #: seconds for on_stop, shielded


@attrs.frozen
class SupervisorSpec:
    """How to make and keep a supervisor and its first children."""

    name: str
    children: Sequence[ActorSpec | SupervisorSpec] = ()
    strategy: Strategy = Strategy.ONE_FOR_ONE
    intensity: int = attrs.field(
        default=3, validator=attrs.validators.ge(0)
    )  #: incidents tolerated
    period: float = attrs.field(default=30.0, validator=attrs.validators.gt(0))  #: in these seconds
    backoff: Backoff = attrs.field(factory=Backoff)
    restart: Restart = Restart.PERMANENT


@attrs.frozen
class Runtime:
    """What all supervisors of a system share."""

    dead_letters: DeadLetters
    random: random.Random
    on_fatal: Callable[[BaseException], None]  #: a KeyboardInterrupt or SystemExit came up
    label: Callable[[trio.lowlevel.Task], str]  #: what a task is, for people
    tap: Tap | None = None  #: a simulation's ear


class _Node(Protocol):
    """What a supervisor keeps: an actor, or another supervisor."""

    name: str
    restart: Restart
    drain: float
    patience: float  #: seconds after which it is strange that a cancelled one still lives

    # A supervisor and an actor mean the same by these; what is told here once.
    async def run(self, started: Callable[[], None]) -> Exit: ...
    def close(self) -> None: ...
    def halt(self) -> None: ...
    def terminate(self, reason: str) -> None: ...
    def note_restart(self) -> None: ...
    def when_in_vain(self, act: Callable[[], None] | None) -> None: ...
    def statistics(self) -> MailboxStatistics | SupervisorStatistics: ...


class _ActorNode:
    """An actor as its supervisor sees it."""

    def __init__(self, spec: ActorSpec, runtime: Runtime) -> None:
        self.spec = spec
        self.name = spec.name
        self.restart = spec.restart
        self.drain = spec.drain
        self.patience = spec.grace + 1.0
        self.cell = Cell(
            spec.name,
            capacity=spec.capacity,
            grace=spec.grace,
            dead_letters=runtime.dead_letters,
            tap=runtime.tap,
        )
        self.cell.ref = ActorRef(self.cell)
        self._life: Incarnation | None = None

    async def run(self, started: Callable[[], None]) -> Exit:
        self._life = Incarnation(self.cell, self.spec.factory)
        return await self._life.run(started)

    def close(self) -> None:
        self.cell.mailbox.close()

    def halt(self) -> None:
        if self._life is not None:
            self._life.halt()

    def terminate(self, reason: str) -> None:
        self.cell.terminate(reason)

    def note_restart(self) -> None:
        self.cell.restarts += 1

    def when_in_vain(self, act: Callable[[], None] | None) -> None:
        """Call *act* as soon as the loop waits for an actor that is down; None: no more."""

        def look() -> None:
            if act is not None and self.cell.waits_in_vain():
                act()

        self.cell.when_waiting = None if act is None else look
        look()

    def statistics(self) -> MailboxStatistics:
        return self.cell.statistics()


@attrs.define(eq=False)
class _Child:
    """One child and its present life."""

    node: _Node
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    started: trio.Event = attrs.field(factory=trio.Event)
    exited: trio.Event = attrs.field(factory=trio.Event)
    task: trio.lowlevel.Task | None = None  #: that runs its present life
    running: bool = False  #: its task lives
    stopping: bool = False  #: its end is our doing
    removed: bool = False  #: not kept any more; ends for good as soon as its task has ended
    end: str = "stopped"  #: why, then
    patience: trio.CancelScope | None = None  #: it drains, until then
    hurried: bool = False  #: it has no time to drain any more
    spawning: bool = False  #: `spawn` waits for its first start, and handles its failure
    ever_started: bool = False
    first_failure: BaseException | None = None
    crashes: int = 0  #: n of the back-off
    up_since: float = math.inf

    @property
    def is_unborn(self) -> bool:
        """Its first start is its spawner's business."""
        return self.spawning and not self.ever_started


@attrs.frozen(eq=False)
class _Plan:
    """Stop these in reverse, wait, start them in order."""

    children: list[_Child]  #: those that are not up again yet
    due: float  #: not before
    reason: str
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)


@attrs.frozen
class _Exited:
    child: _Child
    exit: Exit


@attrs.frozen
class _Stop:
    final: bool


@attrs.frozen
class _AllUp:
    """The first start of all children is through."""


class Supervisor:
    """A supervisor's whole life, restarts of its own included."""

    def __init__(
        self,
        spec: SupervisorSpec,
        runtime: Runtime,
        *,
        before_giving_up: Callable[[Exception, Callable[[], None]], Awaitable[None]] | None = None,
    ) -> None:
        self.spec = spec
        self.name = spec.name
        self.restart = spec.restart
        self.drain = math.inf  # bounded by its children's own
        self.patience = math.inf
        self._runtime = runtime
        self._before_giving_up = before_giving_up
        self._children: list[_Child] = []
        self._plans: list[_Plan] = []
        self._incidents = Incidents(spec.intensity, spec.period)
        self._state = "down"
        self._final = False  #: nothing is restarted any more: who ends, ends for good
        self._nursery: trio.Nursery
        self._context = contextvars.copy_context()
        self._events: trio.MemorySendChannel[_Exited | _Stop | _AllUp] | None = None
        for child in spec.children:
            self._adopt(child)

    # --- for the system and its users ---

    async def spawn(self, spec: ActorSpec) -> ActorRef[Any]:
        """Start one more actor, after those that are here; return when its `on_start` has."""
        child = await self._spawn(spec)
        assert isinstance(child.node, _ActorNode)
        return child.node.cell.ref

    async def spawn_supervisor(self, spec: SupervisorSpec) -> Supervisor:
        """Start a supervisor with its children; return when all of them have started."""
        child = await self._spawn(spec)
        assert isinstance(child.node, Supervisor)
        return child.node

    async def _spawn(self, spec: ActorSpec | SupervisorSpec) -> _Child:
        if self._state != "running":
            raise ActorStopped(self.name, f"its supervisor is {self._state}")
        child = self._adopt(spec)
        child.spawning = True
        self._launch(child)
        try:
            await wait_any(child.started.wait, child.exited.wait)
        except BaseException:
            # Up or not: who was cancelled has no ref, and would leave an actor that nobody knows.
            child.stopping = True
            child.scope.cancel(f"spawning {child.node.name!r} was given up")
            self._remove(child, "its spawning was cancelled")
            raise
        if not child.started.is_set():
            self._remove(child, "failed to start")
            if child.first_failure is None:
                raise ActorStopped(child.node.name, "stopped before it had started")
            raise ActorFailed(
                child.node.name, handled=True, detail="failed in on_start and did not begin"
            ) from child.first_failure
        return child

    def ref(self, name: str) -> ActorRef[Any]:
        """The ref of the child actor called *name*."""
        for child in self._children:
            if child.node.name == name and isinstance(child.node, _ActorNode):
                return child.node.cell.ref
        raise LookupError(f"supervisor {self.name!r} has no actor {name!r}")

    def child_supervisor(self, name: str) -> Supervisor:
        """The child supervisor called *name*."""
        for child in self._children:
            if child.node.name == name and isinstance(child.node, Supervisor):
                return child.node
        raise LookupError(f"supervisor {self.name!r} has no supervisor {name!r}")

    def request_stop(self) -> None:
        """Begin the orderly stop."""
        self._post(_Stop(final=True))

    def hurry(self, name: str) -> None:
        """Cancel the child called *name* as soon as it is to stop; now, if it drains.  For good."""
        for child in self._children:
            if child.node.name == name:
                child.hurried = True
                if child.patience is not None:
                    child.patience.cancel(f"{name!r} was told to hurry")

    def statistics(self) -> SupervisorStatistics:
        """This supervisor and all below it, now."""
        return SupervisorStatistics(
            name=self.name,
            state=self._state,
            strategy=self.spec.strategy.value,
            incidents=self._incidents.total,
            recent_incidents=self._incidents.recent(trio.current_time()),
            intensity=self.spec.intensity,
            period=self.spec.period,
            children=tuple(child.node.statistics() for child in self._children),
        )

    # --- as a child of another supervisor ---

    def close(self) -> None:
        """Begin to end for good."""
        self._post(_Stop(final=True))

    def halt(self) -> None:
        """Begin to end this life; the children's cells stay for the next."""
        self._post(_Stop(final=False))

    def terminate(self, reason: str) -> None:
        """End every cell below."""
        self._state = "stopped"
        for child in reversed(self._children):
            child.node.terminate(reason)

    def note_restart(self) -> None:
        """A supervisor counts incidents, not restarts."""

    def when_in_vain(self, act: Callable[[], None] | None) -> None:
        """Its own children are looked at when it stops them."""

    async def run(self, started: Callable[[], None]) -> Exit:
        """Live once: start the children, keep them, stop them."""
        send, events = trio.open_memory_channel[_Exited | _Stop | _AllUp](math.inf)
        self._events = send
        self._state = "starting"
        self._plans.clear()
        failure: Exception | None = None
        self._incidents.forget()
        try:
            async with trio.open_nursery() as self._nursery:
                for child in self._children:
                    child.running = child.stopping = False
                self._begin(_Plan(list(self._children), -math.inf, "start"))
                while failure is None:
                    event = await events.receive()
                    match event:
                        case _Stop():
                            self._final = event.final
                            break
                        case _AllUp():
                            self._state = "running"
                            started()
                        case _Exited():
                            failure = self._on_exit(event.child, event.exit)
                for plan in self._plans:
                    plan.scope.cancel(f"supervisor {self.name!r} stops")
                self._plans.clear()
                self._state = "stopping"
                if failure is not None and self._before_giving_up is not None:
                    self._final = True  # nobody above could restart us
                    await self._before_giving_up(failure, self._bury_the_dead)
                reason = "shutdown" if failure is None else "its supervisor gave up"
                if self._final:
                    self._bury_the_dead()  # else who still drains might wait for them
                await self._stop(list(self._children), final=self._final, reason=reason)
                self._nursery.cancel_scope.cancel(f"supervisor {self.name!r} ended")
        finally:
            self._events = None
            self._state = "down"
        if failure is not None:
            return Exit(ExitKind.CRASHED, failure)
        return Exit(ExitKind.STOPPED)

    # --- deciding ---

    def _on_exit(self, child: _Child, exit_: Exit) -> Exception | None:
        """Decide what follows from a child's end; an exception means: give up."""
        crashed = exit_.kind is ExitKind.CRASHED
        cause = exit_.cause if isinstance(exit_.cause, Exception) else None
        if child.stopping or child.removed or child.is_unborn or child.running:
            # our doing, or its spawner's, or it went down with its group and is up again by now
            if crashed and child.stopping:
                log.error("%r crashed while it was stopped", child.node.name, exc_info=cause)
            return None
        if not child.ever_started:
            child.stopping = True
            return self._give_up(
                f"{child.node.name!r} failed in its first on_start: {cause!r}", cause
            )
        if not child.node.restart.applies(crashed=crashed):
            if crashed:
                log.error("actor %r crashed and is not restarted", child.node.name, exc_info=cause)
            self._remove(child, str(exit_))
            return None
        now = trio.current_time()
        if self._incidents.record(now):
            log.error("supervisor %r gives up", self.name, exc_info=cause)
            return self._give_up(
                f"{self._incidents.recent(now)} incidents in {self.spec.period:g} s "
                f"(intensity {self.spec.intensity}); the last: {child.node.name!r} {exit_}",
                cause,
            )
        group = affected(self.spec.strategy, self._children, self._children.index(child))
        delay = self._delay(child, now)
        kind = exit_.kind.value
        log.error(
            "%r %s; restarting %s in %.2f s (incident %d of %d in %g s)",
            child.node.name,
            exit_,
            ", ".join(repr(each.node.name) for each in group),
            delay,
            self._incidents.recent(now),
            self.spec.intensity,
            self.spec.period,
            exc_info=cause,
        )
        reason = f"{self.spec.strategy.value} after {child.node.name!r} {kind}"
        self._begin(_Plan(group, now + delay, reason))
        return None

    def _give_up(self, why: str, cause: Exception | None) -> Exception:
        error = SupervisorFailed(f"supervisor {self.name!r} gave up: {why}")
        error.__cause__ = cause
        return error

    def _delay(self, child: _Child, now: float) -> float:
        backoff = self.spec.backoff
        if now - child.up_since >= backoff.stable_after:
            child.crashes = 0
        delay = backoff.delay(child.crashes, self._runtime.random.random())
        child.crashes += 1
        return delay

    def _begin(self, plan: _Plan) -> None:
        """Carry out *plan*, and with it what is left of the plans that it overlaps with."""
        wanted = set(plan.children)
        due = plan.due
        for other in [p for p in self._plans if not wanted.isdisjoint(p.children)]:
            other.scope.cancel(f"widened: {plan.reason}")
            self._plans.remove(other)
            wanted.update(other.children)
            due = max(due, other.due)
        plan = attrs.evolve(plan, children=[c for c in self._children if c in wanted], due=due)
        for child in plan.children:
            child.stopping = True  # from now on its end is no incident of its own
        self._plans.append(plan)
        self._nursery.start_soon(self._carry_out, plan, name=f"{self.name}: {plan.reason}")

    async def _carry_out(self, plan: _Plan) -> None:
        with plan.scope:
            await self._stop(plan.children, final=False, reason=plan.reason)
            await trio.sleep_until(max(plan.due, trio.current_time()))
            while plan.children:
                if plan.scope.cancel_called:
                    return  # replaced in the step in which this one woke up
                child = plan.children[0]
                if not (child.removed or child.is_unborn):
                    if child.ever_started:
                        child.node.note_restart()
                    self._launch(child)
                    await wait_any(child.started.wait, child.exited.wait)
                    if not (child.started.is_set() or child.removed):
                        return  # its exit event decides, and widens this plan
                plan.children.pop(0)
            if plan in self._plans:
                self._plans.remove(plan)
            if self._state == "starting" and not self._plans:
                self._post(_AllUp())

    # --- doing ---

    def _adopt(self, spec: ActorSpec | SupervisorSpec) -> _Child:
        if any(child.node.name == spec.name for child in self._children):
            raise NameTaken(
                f"supervisor {self.name!r} already has a child called {spec.name!r}; "
                f"pass another name= or stop the first"
            )
        node: _Node
        if isinstance(spec, ActorSpec):
            node = _ActorNode(spec, self._runtime)
        else:
            node = Supervisor(spec, self._runtime)
        child = _Child(node)
        self._children.append(child)
        return child

    def _launch(self, child: _Child) -> None:
        child.scope = trio.CancelScope()
        child.started = trio.Event()
        child.exited = trio.Event()
        child.running = True
        child.stopping = False
        child.up_since = math.inf

        # in the supervisor's context, at each start: an actor takes nothing along from who spawned it
        def start() -> None:
            self._nursery.start_soon(self._live, child, name=f"actorq:{child.node.name}")

        self._context.run(start)

    async def _live(self, child: _Child) -> None:
        def started() -> None:
            child.ever_started = True
            child.up_since = trio.current_time()
            child.started.set()

        child.task = trio.lowlevel.current_task()
        exit_ = Exit(ExitKind.STOPPED)
        try:
            with child.scope:
                exit_ = await child.node.run(started)
        except* (KeyboardInterrupt, SystemExit) as group:
            # promise 49: not a crash; the system ends, body first
            exit_ = Exit(ExitKind.FATAL, group)
            self._remove(child, "KeyboardInterrupt or SystemExit")
            self._runtime.on_fatal(group)
        finally:
            child.running = False
            child.task = None
            reason = child.end if child.removed or child.stopping else str(exit_)
            if child.removed or self._final:
                child.node.terminate(reason)
            if not child.ever_started:
                child.first_failure = exit_.cause
            child.exited.set()
        # not if something else than a crash or an interrupt came up: that tears everything down
        self._post(_Exited(child, exit_))

    async def _stop(self, children: Iterable[_Child], *, final: bool, reason: str) -> None:
        """Stop *children* in reverse, the next when the previous has exited (promises 21, 46)."""
        for child in reversed(list(children)):
            last = final or child.node.restart is Restart.TEMPORARY
            if child.running:
                child.stopping = True
                child.end = reason
                if last:
                    child.node.close()
                else:
                    child.node.halt()
                if child.started.is_set():
                    with trio.move_on_after(0 if child.hurried else child.node.drain) as patience:
                        child.patience = patience
                        if not last:
                            # a handler that waits for an actor which is down, perhaps the one that
                            # crashed, will not be answered before this restart is through
                            child.node.when_in_vain(
                                partial(patience.cancel, "it waits for an actor that is down")
                            )
                        await child.exited.wait()
                    child.patience = None
                    child.node.when_in_vain(None)
                if child.running:
                    child.scope.cancel(f"supervisor {self.name!r}: {reason}")
                    with trio.move_on_after(child.node.patience):
                        await child.exited.wait()
                if child.running:
                    self._tell_who_holds_up(child)
                    await child.exited.wait()
            if final or (last and child.ever_started):
                self._remove(child, reason)  # a temporary one is never started again

    def _tell_who_holds_up(self, child: _Child) -> None:
        """Promise 54: Trio has no kill; say at least who shields itself, and where."""
        leaves = [
            f"{self._runtime.label(task)} at {sits_at(task)}"
            for _, task in tasks_below(child.task)
            if not task.child_nurseries
        ]
        log.warning(
            "%r was cancelled and does not end; it waits for what does not let itself be cancelled: %s",
            child.node.name,
            "; ".join(leaves),
        )

    def _bury_the_dead(self) -> None:
        """End the cells of every child that no longer runs: their askers wait in vain."""
        for child in self._children:
            if not child.running:
                child.node.terminate("crashed, and its supervisor gave up")

    def _remove(self, child: _Child, reason: str) -> None:
        """Keep *child* no longer; if its task lives, its cell ends with it."""
        child.removed = True
        child.end = reason
        if child.running:
            child.node.close()
        else:
            child.node.terminate(reason)
        if child in self._children:
            self._children.remove(child)

    def _post(self, event: _Exited | _Stop | _AllUp) -> None:
        if self._events is not None:
            self._events.send_nowait(event)
