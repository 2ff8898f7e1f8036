"""Kernels that break one promise each, to see whether a test of that promise notices.

A mutant is a function that replaces some of the kernel's code, until its patch is undone.  One must
do no more than it says: a kernel that does nothing at all would be noticed by any test.
Contracts have mutants of their own (`actorq.testing.mutants`): what they test is replaced as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio
import trio.lowlevel
from trio_util import wait_any

import actorq.incarnation
import actorq.kernel
import actorq.supervisor
from actorq.actors.worker_pool import WorkerPool
from actorq.cell import Cell
from actorq.dead_letters import DeadLetters, LetterReason
from actorq.errors import ActorStopped
from actorq.incarnation import Exit, ExitKind, Incarnation
from actorq.mailbox import Envelope, Mailbox
from actorq.ref import ActorRef
from actorq.reply import _ERROR, _PENDING, _VALUE, Reply
from actorq.restart import Backoff, Incidents, Restart
from actorq.signals import Terminated
from actorq.supervisor import ActorSpec, Supervisor, _ActorNode
from actorq.timers import VOID, Timers


Break = Callable[[pytest.MonkeyPatch], None]


@attrs.frozen
class KernelMutant:
    """One broken kernel."""

    name: str
    promise: int  #: that it breaks
    breaks: str  #: what it does wrong
    apply: Break


MUTANTS: list[KernelMutant] = []


def mutant(promise: int, breaks: str, *, part: str = "kernel") -> Callable[[Break], Break]:
    """Enter the decorated function as a mutant that is called as it is."""

    def enter(apply: Break) -> Break:
        name = f"{part}: {apply.__name__.replace('_', ' ')}"
        MUTANTS.append(KernelMutant(name, promise, breaks, apply))
        return apply

    return enter


def queue_of(cell: Cell) -> Any:
    """What is in a mailbox, as Trio keeps it: a deque."""
    return cell.mailbox._receive._state.data


# --- mailbox ---


@mutant(1, "handles each message in a task of its own")
def handlers_at_once(patch: pytest.MonkeyPatch) -> None:
    make = Incarnation._make

    def made(self: Incarnation) -> Any:
        actor: Any = make(self)
        handle = actor.receive

        async def receive(message: Any) -> None:
            self.start_soon(handle, message)

        actor.receive = receive
        return actor

    patch.setattr(Incarnation, "_make", made)


@mutant(2, "takes the second message before the first")
def out_of_order(patch: pytest.MonkeyPatch) -> None:
    begin = Mailbox.__init__

    def init(self: Mailbox, *args: Any) -> None:
        begin(self, *args)
        take = self.receive_nowait

        def receive_nowait() -> Any:
            data = self._receive._state.data
            if len(data) > 1:
                data[0], data[1] = data[1], data[0]
            return take()

        self.receive_nowait = receive_nowait

    patch.setattr(Mailbox, "__init__", init)


@mutant(3, "drops what there is no room for")
def drops_when_full(patch: pytest.MonkeyPatch) -> None:
    begin = Mailbox.__init__

    def init(self: Mailbox, *args: Any) -> None:
        begin(self, *args)
        put = self.send_nowait

        def send_nowait(item: Any) -> None:
            try:
                put(item)
            except trio.WouldBlock:
                return

        self.send_nowait = send_nowait

    patch.setattr(Mailbox, "__init__", init)


@mutant(4, "delivers a message although its sender was cancelled")
def delivers_what_was_cancelled(patch: pytest.MonkeyPatch) -> None:
    async def send(self: ActorRef[Any], item: Any) -> None:
        try:
            await self._cell.mailbox.send(item)
        except trio.ClosedResourceError:
            raise self._stopped() from None
        except trio.Cancelled:
            queue_of(self._cell).append(item)
            raise

    patch.setattr(ActorRef, "_send", send)


@mutant(5, "handles what it was told twice")
def delivers_twice(patch: pytest.MonkeyPatch) -> None:
    begin = Mailbox.__init__

    def init(self: Mailbox, *args: Any) -> None:
        begin(self, *args)
        put = self.send_nowait

        def send_nowait(item: Any) -> None:
            put(item)
            if type(item) is not Envelope and len(self._receive._state.data) == 1:
                self._receive._state.data.append(item)

        self.send_nowait = send_nowait

    patch.setattr(Mailbox, "__init__", init)


@mutant(6, "forgets the message on which an actor crashed")
def no_dead_letter_of_a_crash(patch: pytest.MonkeyPatch) -> None:
    record = DeadLetters.record

    def recorded(self: DeadLetters, letter: Any) -> None:
        if letter.reason is not LetterReason.CRASHED:
            record(self, letter)

    patch.setattr(DeadLetters, "record", recorded)


@mutant(7, "refuses signals when the mailbox is full")
def signals_need_room(patch: pytest.MonkeyPatch) -> None:
    push = Mailbox.push_signal

    def push_signal(self: Mailbox, signal: Any) -> None:
        if self.queued < self.capacity:
            push(self, signal)

    patch.setattr(Mailbox, "push_signal", push_signal)


@mutant(8, "never lets others run while it has messages")
def never_yields(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(actorq.incarnation, "BURST", 1_000_000)


# --- ask ---


@mutant(9, "leaves who asked an actor that ended without an answer")
def silence_at_the_end(patch: pytest.MonkeyPatch) -> None:
    bury = Cell.bury

    def buried(self: Cell, item: Any, reason: LetterReason, error: Any = None) -> None:
        if type(item) is Envelope and reason is LetterReason.UNDELIVERED:
            self.undelivered += 1
        else:
            bury(self, item, reason, error)

    patch.setattr(Cell, "bury", buried)


@mutant(9, "lets a second answer replace the first")
def answers_twice(patch: pytest.MonkeyPatch) -> None:
    settle = Reply._settle

    def settled(self: Reply[Any], state: Any, content: Any) -> bool:
        if self._state in (_VALUE, _ERROR):
            self._state = _PENDING
        return settle(self, state, content)

    patch.setattr(Reply, "_settle", settled)


@mutant(10, "takes a refusal for a crash")
def reject_crashes(patch: pytest.MonkeyPatch) -> None:
    class Never(Exception):
        """What nobody raises."""

    patch.setattr(actorq.incarnation, "Reject", Never)


@mutant(11, "tells of a crash only when child tasks have cleaned up")
def crash_is_told_late(patch: pytest.MonkeyPatch) -> None:
    settle = Incarnation._settle_current

    def late(self: Incarnation, reason: LetterReason, crash: Any) -> None:
        if reason is not LetterReason.CRASHED:
            settle(self, reason, crash)

    patch.setattr(Incarnation, "_settle_current", late)


@mutant(12, "fails queued asks when the actor crashes")
def queued_asks_die(patch: pytest.MonkeyPatch) -> None:
    run = Incarnation.run

    async def ran(self: Incarnation, started: Callable[[], None]) -> Exit:
        exit_ = await run(self, started)
        if exit_.kind is ExitKind.CRASHED:
            data = queue_of(self.cell)
            for item in [item for item in data if type(item) is Envelope]:
                data.remove(item)
                self.cell.bury(item, LetterReason.UNDELIVERED)
        return exit_

    patch.setattr(Incarnation, "run", ran)


@mutant(13, "leaves deferred replies of a dead life parked")
def deferred_replies_stay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Incarnation, "_fail_deferred", lambda self, crash: None)


@mutant(14, "takes a message back whose asker was cancelled")
def cancelled_asks_are_withdrawn(patch: pytest.MonkeyPatch) -> None:
    ask = ActorRef.ask

    async def asked(self: ActorRef[Any], message: Any) -> Any:
        try:
            return await ask(self, message)
        except trio.Cancelled:
            data = queue_of(self._cell)
            for item in [item for item in data if type(item) is Envelope]:
                if item.message is message:
                    data.remove(item)
            raise

    patch.setattr(ActorRef, "ask", asked)


@mutant(15, "lets who asks a dead actor wait")
def asks_of_the_dead_park(patch: pytest.MonkeyPatch) -> None:
    ask = ActorRef.ask

    async def asked(self: ActorRef[Any], message: Any) -> Any:
        try:
            return await ask(self, message)
        except ActorStopped:
            await trio.sleep(60)
            raise

    patch.setattr(ActorRef, "ask", asked)


@mutant(16, "lets a reply carry a KeyboardInterrupt")
def replies_carry_anything(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reply, "fail", lambda self, error: self._settle(_ERROR, error))


@mutant(17, "waits for itself where asks go in a circle")
def circles_are_not_seen(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Cell, "check_cycle", lambda self, target: None)


@mutant(17, "sees a circle where a reply was deferred")
def deferred_replies_block(patch: pytest.MonkeyPatch) -> None:
    def defer(self: Reply[Any], owner: dict[Reply[Any], None]) -> None:
        if self._state is _PENDING:
            self._owner = owner
            owner[self] = None

    patch.setattr(Reply, "_defer", defer)


# --- restart ---


@mutant(18, "goes on with the state of the life that crashed")
def state_outlives_a_crash(patch: pytest.MonkeyPatch) -> None:
    make = Incarnation._make
    actors: dict[int, Any] = {}

    def made(self: Incarnation) -> Any:
        actor = actors.setdefault(id(self.cell), None) or make(self)
        actors[id(self.cell)] = actor
        actor._life = self
        return actor

    patch.setattr(Incarnation, "_make", made)


@mutant(18, "forgets its watchers at a restart")
def watchers_are_lost(patch: pytest.MonkeyPatch) -> None:
    run = Incarnation.run

    async def ran(self: Incarnation, started: Callable[[], None]) -> Exit:
        exit_ = await run(self, started)
        if exit_.kind is ExitKind.CRASHED:
            self.cell.watchers.clear()
        return exit_

    patch.setattr(Incarnation, "run", ran)


@mutant(19, "delivers the message again on which it crashed")
def crashing_message_comes_again(patch: pytest.MonkeyPatch) -> None:
    settle = Incarnation._settle_current
    again: set[int] = set()

    def settled(self: Incarnation, reason: LetterReason, crash: Any) -> None:
        item = self._item
        settle(self, reason, crash)
        if reason is LetterReason.CRASHED and type(item) is int and id(self.cell) not in again:
            again.add(id(self.cell))  # once, or there would be no end
            queue_of(self.cell).appendleft(item)

    patch.setattr(Incarnation, "_settle_current", settled)


@mutant(20, "restarts a temporary actor that crashed")
def temporary_is_restarted(patch: pytest.MonkeyPatch) -> None:
    begin = _ActorNode.__init__

    def init(self: _ActorNode, spec: ActorSpec, runtime: Any) -> None:
        begin(self, spec, runtime)
        if self.restart is Restart.TEMPORARY:
            self.restart = Restart.TRANSIENT

    patch.setattr(_ActorNode, "__init__", init)


@mutant(20, "restarts a transient actor that ended by itself")
def transient_is_permanent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Restart, "applies", lambda self, *, crashed: self is not Restart.TEMPORARY)


@mutant(21, "restarts nobody but who crashed, whatever the strategy")
def one_for_all_restarts_one(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        actorq.supervisor, "affected", lambda strategy, children, index: [children[index]]
    )


@mutant(21, "stops the group in start order")
def group_stops_in_start_order(patch: pytest.MonkeyPatch) -> None:
    stop = Supervisor._stop

    async def stopped(self: Supervisor, children: Any, **options: Any) -> None:
        if not options["final"]:
            children = list(reversed(list(children)))
        await stop(self, children, **options)

    patch.setattr(Supervisor, "_stop", stopped)


@mutant(22, "tolerates one incident more than it should")
def one_incident_too_many(patch: pytest.MonkeyPatch) -> None:
    record = Incidents.record

    def recorded(self: Incidents, now: float) -> bool:
        return record(self, now) and self.recent(now) > self.intensity + 1

    patch.setattr(Incidents, "record", recorded)


@mutant(22, "forgets an incident at the edge of its period")
def the_edge_does_not_count(patch: pytest.MonkeyPatch) -> None:
    def recent(self: Incidents, now: float) -> int:
        while self._recent and self._recent[0] <= now - self.period:
            self._recent.popleft()
        return len(self._recent)

    patch.setattr(Incidents, "recent", recent)


@mutant(23, "retries a start that failed without a pause")
def failed_start_is_retried_at_once(patch: pytest.MonkeyPatch) -> None:
    delay = Supervisor._delay

    def delayed(self: Supervisor, child: Any, now: float) -> float:
        seconds = delay(self, child, now)
        return 0.0 if child.crashes > 1 else seconds

    patch.setattr(Supervisor, "_delay", delayed)


@mutant(23, "does not obey a stop while a restart is due")
def deaf_while_it_retries(patch: pytest.MonkeyPatch) -> None:
    carry_out = Supervisor._carry_out

    async def shielded(self: Supervisor, plan: Any) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep_until(max(plan.due, trio.current_time()))
        await carry_out(self, plan)

    patch.setattr(Supervisor, "_carry_out", shielded)


@mutant(24, "never begins its back-off anew")
def backoff_is_not_reset(patch: pytest.MonkeyPatch) -> None:
    def delay(self: Supervisor, child: Any, now: float) -> float:
        seconds = self.spec.backoff.delay(child.crashes, self._runtime.random.random())
        child.crashes += 1
        return seconds

    patch.setattr(Supervisor, "_delay", delay)


@mutant(24, "lets the back-off grow beyond its maximum")
def backoff_without_a_maximum(patch: pytest.MonkeyPatch) -> None:
    def delay(self: Backoff, n: int, u: float) -> float:
        return float(self.base * 2.0 ** min(n, 1000) * (1 + self.jitter * u))

    patch.setattr(Backoff, "delay", delay)


@mutant(25, "handles the message of a timer that was replaced")
def replaced_timers_fire(patch: pytest.MonkeyPatch) -> None:
    def take(self: Timers, fired: Any) -> Any:
        entry = self._current.get(fired.key)
        if entry is None:
            return VOID
        if entry.period is None:
            del self._current[fired.key]
        else:
            self.set(fired.key, entry.period, entry.message, entry.period)
        return entry.message

    patch.setattr(Timers, "take", take)


@mutant(25, "keeps the timers of a dead life")
def timers_of_the_dead_fire(patch: pytest.MonkeyPatch) -> None:
    kept: dict[int, Any] = {}
    begin = Incarnation.__init__

    def init(self: Incarnation, cell: Cell, factory: Any) -> None:
        begin(self, cell, factory)
        self.timers._current = kept.setdefault(id(cell), self.timers._current)
        self.timers._heap = kept.setdefault(-id(cell), self.timers._heap)

    run = Incarnation._serve

    async def serve(self: Incarnation, actor: Any) -> None:
        if self.timers._heap and not self.timers._running:
            self.timers._running = True
            self.start_soon(self.timers._run)
        await run(self, actor)

    patch.setattr(Incarnation, "__init__", init)
    patch.setattr(Incarnation, "_serve", serve)


@mutant(26, "tells a watcher twice")
def watchers_are_told_twice(patch: pytest.MonkeyPatch) -> None:
    push = Mailbox.push_signal

    def push_signal(self: Mailbox, signal: Any) -> None:
        push(self, signal)
        if type(signal) is Terminated:
            push(self, signal)

    patch.setattr(Mailbox, "push_signal", push_signal)


@mutant(26, "tells who begins to watch a dead actor nothing")
def watching_the_dead_tells_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Cell, "watch", lambda self, watcher: self.watchers.update({watcher: None}))


@mutant(27, "starts children all at once")
def children_start_together(patch: pytest.MonkeyPatch) -> None:
    carry_out = Supervisor._carry_out

    async def carried_out(self: Supervisor, plan: Any) -> None:
        if plan.reason == "start":
            for child in plan.children:
                self._launch(child)
            await trio.lowlevel.checkpoint()
            for child in list(plan.children):
                await wait_any(child.started.wait, child.exited.wait)
            plan.children.clear()
        await carry_out(self, plan)

    patch.setattr(Supervisor, "_carry_out", carried_out)


# --- shutdown and cancellation ---


@mutant(45, "drops what is queued when it is stopped")
def queue_is_dropped_at_the_stop(patch: pytest.MonkeyPatch) -> None:
    close = Mailbox.close

    def closed(self: Mailbox) -> None:
        if not self.closed:
            self._receive._state.data.clear()
        close(self)

    patch.setattr(Mailbox, "close", closed)


@mutant(46, "stops children in start order")
def stops_in_start_order(patch: pytest.MonkeyPatch) -> None:
    stop = Supervisor._stop

    async def stopped(self: Supervisor, children: Any, **options: Any) -> None:
        await stop(self, list(reversed(list(children))), **options)

    patch.setattr(Supervisor, "_stop", stopped)


@mutant(47, "cancels the actors together with the body")
def actors_end_with_the_body(patch: pytest.MonkeyPatch) -> None:
    run_root = actorq.kernel._run_root

    async def unshielded(kernel: Any, shield: trio.CancelScope, started: trio.Event) -> None:
        shield.shield = False
        await run_root(kernel, shield, started)

    patch.setattr(actorq.kernel, "_run_root", unshielded)


@mutant(48, "swallows a cancellation while it waits for an answer")
def cancellation_is_swallowed(patch: pytest.MonkeyPatch) -> None:
    ask = ActorRef.ask

    async def asked(self: ActorRef[Any], message: Any) -> Any:
        try:
            return await ask(self, message)
        except trio.Cancelled:
            return None

    patch.setattr(ActorRef, "ask", asked)


@mutant(49, "takes a KeyboardInterrupt for a crash")
def interrupt_is_a_crash(patch: pytest.MonkeyPatch) -> None:
    make = Incarnation._make

    def made(self: Incarnation) -> Any:
        actor: Any = make(self)
        handle = actor.receive

        async def receive(message: Any) -> Any:
            try:
                return await handle(message)
            except (KeyboardInterrupt, SystemExit) as error:
                raise RuntimeError("interrupted") from error

        actor.receive = receive
        return actor

    patch.setattr(Incarnation, "_make", made)


@mutant(50, "wraps the body's own exception in a group")
def body_error_is_wrapped(patch: pytest.MonkeyPatch) -> None:
    what_surfaces = actorq.kernel._what_surfaces

    def wrapped(ends: Any) -> BaseException | None:
        error = what_surfaces(ends)
        if error is not None and error is ends.body and isinstance(error, Exception):
            return ExceptionGroup("the body failed", [error])
        return error

    patch.setattr(actorq.kernel, "_what_surfaces", wrapped)


@mutant(51, "starts actors in a scope that is cancelled")
def starts_although_cancelled(patch: pytest.MonkeyPatch) -> None:
    class Lowlevel:
        """Trio's, but for one thing."""

        def __getattr__(self, name: str) -> Any:
            return getattr(trio.lowlevel, name)

        async def checkpoint(self) -> None:
            pass

    class Shim:
        """Trio, but for one thing."""

        lowlevel = Lowlevel()

        def __getattr__(self, name: str) -> Any:
            return getattr(trio, name)

    patch.setattr(actorq.kernel, "trio", Shim())


@mutant(52, "starts an actor's child tasks outside of the system")
def child_tasks_live_on(patch: pytest.MonkeyPatch) -> None:
    def start_soon(self: Incarnation, async_fn: Any, *args: Any, name: object = None) -> None:
        async def child() -> None:
            await async_fn(*args)

        trio.lowlevel.spawn_system_task(child)

    patch.setattr(Incarnation, "start_soon", start_soon)


@mutant(53, "cuts running jobs off at once", part="pool")
def no_grace(patch: pytest.MonkeyPatch) -> None:
    async def drain(self: WorkerPool) -> None:
        self._draining = True
        self.allow()
        self._give_back_waiting()

    patch.setattr(WorkerPool, "drain", drain)


@mutant(53, "leaves what it had not begun to the end of its session", part="pool")
def nothing_is_given_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WorkerPool, "_give_back", lambda self, jobs: None)


@mutant(54, "says nothing of who holds up the shutdown")
def nobody_is_named(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Supervisor, "_tell_who_holds_up", lambda self, child: None)
