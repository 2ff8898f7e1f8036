"""A host for Hypothesis state machines that drive one Trio program step by step.

Rules are plain functions and Trio wants to own the loop: so the program runs in guest mode, and
each `call` pumps it until the async function has returned.  Between calls nothing moves.
"""

from __future__ import annotations

import queue
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any, TypeVar, TypeVarTuple

import trio
import trio.testing
from hypothesis.stateful import RuleBasedStateMachine

from actorq.testing.failure import explain, is_failure
from actorq.testing.simulation import Simulation, Stuck
from actorq.testing.tally import TALLY
from actorq.testing.tape import Player, Tape, scheduler


R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class TrioMachine(RuleBasedStateMachine):
    """A state machine whose rules `call` async functions in one Trio program with a virtual clock.

    Override `session` to open a system round all the rules.  To explore schedules as well, write
    `@initialize(tape=schedules()) def draw(self, tape): self.play(tape)`.
    """

    limit: float = 10_000.0  #: virtual seconds that one `call` may take

    def __init__(self) -> None:
        super().__init__()
        self.opened: Any = None  #: what `session` yielded
        self.nursery: trio.Nursery  #: for tasks that outlive a `call`; cancelled at the end
        self._host: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._jobs: trio.MemorySendChannel[Callable[[], Awaitable[None]]]
        self._token: trio.lowlevel.TrioToken
        self._ready = self._ended = False
        self._result: Any = None  #: of the whole program: an `outcome.Outcome`
        self._player = Player(Tape())
        self._clock = self.new_clock()
        self._simulation = Simulation(self._player, self._clock)
        self._exit_stack = ExitStack()
        self._exit_stack.enter_context(scheduler(self._player))
        self._exit_stack.enter_context(self._simulation.witness.watching())
        trio.lowlevel.start_guest_run(
            self._main,
            run_sync_soon_threadsafe=self._host.put,
            done_callback=self._done,
            clock=self._clock,
        )
        try:
            self._pump(lambda: self._ready)
        except BaseException:
            self._exit_stack.close()
            raise

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Any]:
        """Open what the rules work on; the value is `self.opened`."""
        yield None

    def new_clock(self) -> trio.testing.MockClock:
        """The program's clock: jumps when everybody waits, so nothing in it may use threads."""
        return trio.testing.MockClock(autojump_threshold=0)

    def play(self, tape: Tape) -> None:
        """Let *tape* decide the schedule from now on."""
        self._player.load(tape)

    def call(self, async_fn: Callable[[*Ts], Awaitable[R]], *args: *Ts) -> R:
        """Run *async_fn* in the program's main task; return or raise what it does."""
        values: list[R] = []
        errors: list[Exception] = []

        async def job() -> None:
            try:
                self._simulation.limit = trio.current_time() + self.limit
                with trio.move_on_after(self.limit) as scope:
                    values.append(await async_fn(*args))
            except Exception as error:  # noqa: BLE001 - raised in the rule
                errors.append(error)
            else:
                if scope.cancelled_caught:
                    complaint = f"the call did not end within {self.limit:g} virtual seconds"
                    errors.append(Stuck(f"{complaint}:\n{self._simulation.describe_stuck()}"))

        self._token.run_sync_soon(self._jobs.send_nowait, job)
        self._pump(lambda: bool(values or errors))
        if errors:
            raise errors[0]
        return values[0]

    def settle(self) -> None:
        """Let the program run until all of its tasks wait.  No time passes."""
        self.call(trio.testing.wait_all_tasks_blocked)

    def teardown(self) -> None:
        """Close the session and end the program; what it raises is raised.

        A failure on its way up, be it a rule's or an invariant's, is given what happened as a note.
        """
        failure = sys.exc_info()[1]
        if failure is not None and is_failure(failure):
            explain(failure, self._simulation)
        try:
            if not self._ended:
                self._token.run_sync_soon(self._jobs.close)
                self._pump(lambda: False)
        finally:
            self._exit_stack.close()
            TALLY.simulations += 1
            TALLY.virtual_seconds += self._clock.current_time()

    async def _main(self) -> None:
        self._simulation.enter()
        self._token = trio.lowlevel.current_trio_token()
        self._jobs, jobs = trio.open_memory_channel[Callable[[], Awaitable[None]]](1)
        async with self.session() as self.opened, trio.open_nursery() as self.nursery:
            self._ready = True
            async for job in jobs:
                await job()
            self.nursery.cancel_scope.cancel("the state machine is torn down")

    def _done(self, result: Any) -> None:
        self._ended = True
        self._result = result

    def _pump(self, until: Callable[[], bool]) -> None:
        while not until():
            if self._ended:
                self._result.unwrap()
                return
            self._host.get(timeout=60)()
