"""The kernel's frame: a root supervisor round a body, ended body first, actors second.

Owns the root task, the shield that lets actors outlive the body, and the rule by which failures
surface.  `open_system` adds the queue's actors; this alone serves actors without a queue.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

import attrs
import trio

from actorq.actor import Actor
from actorq.dead_letters import DeadLetters
from actorq.environment import Environment, current_environment
from actorq.errors import SystemClosed, SystemFailed
from actorq.ref import ActorRef
from actorq.restart import Backoff, Restart, Strategy
from actorq.statistics import SupervisorStatistics
from actorq.supervisor import (
    DEFAULT_CAPACITY,
    DEFAULT_DRAIN,
    DEFAULT_GRACE,
    ActorSpec,
    Runtime,
    Supervisor,
    SupervisorSpec,
)


M = TypeVar("M")

#: Where actors live that the user spawns.
APP = "app"


class SupervisorRef:
    """A handle on a supervisor that was spawned."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    @property
    def name(self) -> str:
        """The name under which it was spawned."""
        return self._supervisor.name

    async def spawn(
        self,
        factory: Callable[[], Actor[M]],
        *,
        name: str | None = None,
        restart: Restart = Restart.PERMANENT,
        capacity: float = DEFAULT_CAPACITY,
        drain: float = DEFAULT_DRAIN,
        grace: float = DEFAULT_GRACE,
    ) -> ActorRef[M]:
        """Start an actor and return its ref once its `on_start` has returned.  Always a checkpoint.

        *factory* is called for each life: a class, or a function that makes one.  *name* (the
        class's unless told) is unique under one supervisor.  *capacity*: messages that may wait.
        *drain*: seconds to finish the queue at the end.  *grace*: seconds for `on_stop`.
        Raises `NameTaken`, or `ActorFailed` from what `on_start` raised.
        """
        return await self._supervisor.spawn(
            _actor_spec(factory, name, restart, capacity, drain, grace)
        )

    def statistics(self) -> SupervisorStatistics:
        """This supervisor and all below it, now."""
        return self._supervisor.statistics()


def _actor_spec(
    factory: object,
    name: str | None,
    restart: object,
    capacity: float,
    drain: float,
    grace: float,
) -> ActorSpec:
    if isinstance(factory, Actor):
        kind = type(factory).__name__
        raise TypeError(
            f"spawn() got an instance of {kind}; pass something that makes one for each life: "
            f"spawn({kind}, ...) or spawn(lambda: {kind}(...), ...)"
        )
    if not callable(factory):
        raise TypeError(f"spawn() expected an Actor class or a factory, got {factory!r}")
    if not isinstance(restart, Restart):
        raise TypeError(f"restart= expected a Restart, such as Restart.TRANSIENT; got {restart!r}")
    if capacity < 0 or (capacity != math.inf and int(capacity) != capacity):
        raise ValueError(f"capacity must be a whole number >= 0, or math.inf; got {capacity!r}")
    for label, seconds in (("drain", drain), ("grace", grace)):
        if seconds < 0:
            raise ValueError(f"{label} must be >= 0 seconds; got {seconds!r}")
    return ActorSpec(
        factory=cast("Callable[[], Actor[Any]]", factory),
        name=name or str(getattr(factory, "__name__", type(factory).__name__)),
        restart=restart,
        capacity=capacity,
        drain=drain,
        grace=grace,
    )


@attrs.define
class _Ends:
    """How the parts of a system ended."""

    fatal: list[BaseException] = attrs.field(factory=list)  #: KeyboardInterrupts, SystemExits
    failures: list[BaseException] = attrs.field(factory=list)  #: of supervisors that gave up
    root: BaseException | None = None  #: what came out of the root task, and should not
    body: BaseException | None = None


def _check_limits(intensity: int, period: float, backoff: Backoff | None) -> None:
    if isinstance(intensity, bool) or not isinstance(intensity, int) or intensity < 0:
        raise ValueError(f"intensity expects a number of incidents, 0 or more; got {intensity!r}")
    if isinstance(period, bool) or not isinstance(period, int | float) or not period > 0:
        raise ValueError(f"period expects seconds, more than 0; got {period!r}")
    if backoff is not None and not isinstance(backoff, Backoff):
        raise TypeError(
            f"backoff expects a Backoff, such as Backoff(base=0.1, max=10); got {backoff!r}"
        )


class Kernel:
    """A running tree of actors.  Made by `open_kernel`."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.dead_letters = DeadLetters()
        self._body = trio.CancelScope()
        self._body_done = trio.Event()
        self._ends = _Ends()
        self._runtime = Runtime(
            self.dead_letters,
            environment.random,
            self._on_fatal,
            lambda task: self.label(task),
            environment.tap,
        )
        self._root: Supervisor
        self._app: Supervisor

    def label(self, task: trio.lowlevel.Task) -> str:
        """What *task* is, for people who read a log."""
        return task.name

    def _wire(self) -> None:
        """The tree is built and nothing runs yet: the moment to look up refs."""

    def _on_fatal(self, cause: BaseException) -> None:
        self._ends.fatal.append(cause)
        self._body.cancel("actorq: KeyboardInterrupt or SystemExit in an actor")

    async def _before_giving_up(self, failure: Exception, bury: Callable[[], None]) -> None:
        # Noted now: the shutdown timeout may cut short what follows.
        # The root's own SupervisorFailed tells nothing that its cause does not.
        self._ends.failures.append(failure.__cause__ or failure)
        # This order: cancelled first, the body sees its cancellation and not the noise of asks that
        # fail; buried second, a shielded asker in the body's cleanup is not left waiting.
        self._body.cancel("actorq: the system failed")
        bury()
        await self._body_done.wait()

    async def spawn(
        self,
        factory: Callable[[], Actor[M]],
        *,
        name: str | None = None,
        restart: Restart = Restart.PERMANENT,
        capacity: float = DEFAULT_CAPACITY,
        drain: float = DEFAULT_DRAIN,
        grace: float = DEFAULT_GRACE,
    ) -> ActorRef[M]:
        """Start an actor and return its ref once its `on_start` has returned.  Always a checkpoint.

        *factory* is called for each life: a class, or a function that makes one.  *name* (the
        class's unless told) is unique.  *capacity*: messages that may wait (1,000 unless told; 0
        hands over).  *drain*: seconds to finish the queue at the end.  *grace*: for `on_stop`.
        Raises `NameTaken`, `SystemClosed`, or `ActorFailed` from what `on_start` raised.
        """
        spec = _actor_spec(factory, name, restart, capacity, drain, grace)
        self._check_open("spawn")
        return await self._app.spawn(spec)

    async def spawn_supervisor(
        self,
        name: str,
        *,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        intensity: int = 3,
        period: float = 30.0,
        backoff: Backoff | None = None,
        restart: Restart = Restart.PERMANENT,
    ) -> SupervisorRef:
        """Start a supervisor for actors that belong together.  Always a checkpoint.

        More than *intensity* incidents within *period* seconds end it, and its own supervisor
        decides: by *restart*, at the same intensity.
        """
        self._check_open("spawn_supervisor")
        _check_limits(intensity, period, backoff)
        return SupervisorRef(
            await self._app.spawn_supervisor(
                SupervisorSpec(
                    name=name,
                    strategy=strategy,
                    intensity=intensity,
                    period=period,
                    backoff=backoff or Backoff(),
                    restart=restart,
                )
            )
        )

    def statistics(self) -> SupervisorStatistics:
        """The whole tree, now."""
        return self._root.statistics()

    @property
    def is_open(self) -> bool:
        """The body of `async with` is running."""
        return not self._body_done.is_set()

    def _check_open(self, what: str) -> None:
        if not self.is_open:
            raise SystemClosed(
                f"{what}() on a system that is closed; call it inside "
                f"`async with actorq.open_system() as sys:`"
            )


async def _run_root(kernel: Kernel, shield: trio.CancelScope, started: trio.Event) -> None:
    try:
        with shield:
            await kernel._root.run(started.set)
    except BaseException as error:
        kernel._ends.root = error
        raise
    finally:
        kernel._root.terminate("the system has ended")
        started.set()


@asynccontextmanager
async def open_kernel(
    kernel: Kernel | None = None,
    *,
    subtrees: Sequence[SupervisorSpec] = (),
    intensity: int = 3,
    period: float = 30.0,
    backoff: Backoff | None = None,
    shutdown_timeout: float = 30.0,
) -> AsyncIterator[Kernel]:
    """Run actors round the body of `async with`.

    The tree is `actorq` with `app` (what `spawn` starts, one_for_one, *intensity* incidents in
    *period* seconds) and then *subtrees*.  When the body ends, they stop in reverse order, within
    *shutdown_timeout* seconds plus the longest clean-up grace; what is left then is cancelled.

    Surfaces: the body's own exception, naked, if nothing else failed; `SystemFailed` from a group
    if an actor's failure ended the system; a `KeyboardInterrupt` or `SystemExit` as itself.
    """
    _check_limits(intensity, period, backoff)
    await trio.lowlevel.checkpoint()  # promise 51: nothing starts in a cancelled scope
    kernel = kernel or Kernel(current_environment())
    app = SupervisorSpec(name=APP, intensity=intensity, period=period, backoff=backoff or Backoff())
    kernel._root = Supervisor(
        # intensity 0: what a subtree's own supervisor could not heal ends the system
        SupervisorSpec(name="actorq", children=(app, *subtrees), intensity=0),
        kernel._runtime,
        before_giving_up=kernel._before_giving_up,
    )
    kernel._app = kernel._root.child_supervisor(APP)
    kernel._wire()
    shield = trio.CancelScope(shield=True)
    surfaced: BaseException | None
    started = trio.Event()
    ends = kernel._ends
    try:
        async with trio.open_nursery() as nursery:
            # start_soon, not start(): that hangs for a shielded task in a cancelled scope
            nursery.start_soon(_run_root, kernel, shield, started, name="actorq:root")
            try:
                with kernel._body:
                    await started.wait()
                    if not ends.failures:
                        yield kernel
            except BaseException as error:
                ends.body = error
                raise
            finally:
                kernel._body_done.set()
                kernel._root.request_stop()
                shield.deadline = trio.current_time() + shutdown_timeout
    except BaseException as error:  # noqa: BLE001 - raised below, outside of this handler's context
        surfaced = _what_surfaces(ends) or error
    else:
        surfaced = _what_surfaces(ends)
    if surfaced is not None:
        raise surfaced


def _what_surfaces(ends: _Ends) -> BaseException | None:
    """Promises 49 and 50: which one exception leaves the system, if any."""
    signals = [*ends.fatal, *_signals_in(ends.root)]
    if signals:
        signal = _first_signal(signals[0])
        signal.__cause__ = BaseExceptionGroup("raised in an actor", signals)
        return signal
    if ends.failures:
        everything = [*ends.failures, *([ends.body] if isinstance(ends.body, Exception) else [])]
        failed = SystemFailed(f"an actor's failure ended the system: {ends.failures[0]}")
        failed.__cause__ = BaseExceptionGroup("actorq system failed", everything)
        return failed
    return ends.body if ends.root is None else None


def _signals_in(error: BaseException | None) -> list[BaseException]:
    if error is None:
        return []
    found, _ = BaseExceptionGroup("", [error]).split((KeyboardInterrupt, SystemExit))
    return [] if found is None else [found]


def _first_signal(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return SystemExit(*error.args) if isinstance(error, SystemExit) else KeyboardInterrupt()
