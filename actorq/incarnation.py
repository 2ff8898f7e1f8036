"""The incarnation: one life of an actor, from `on_start` to the end of its clean-up.

Owned by the supervisor's task for the child; borrows the cell's mailbox and gives it back.
Ends in exactly one `Exit`; a `KeyboardInterrupt` or `SystemExit` is not an exit and passes through.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any, Final

import attrs
import trio

from actorq.actor import Actor
from actorq.cell import Cell, running_cell
from actorq.dead_letters import LetterReason
from actorq.errors import ActorFailed, ActorStopped, Reject
from actorq.mailbox import WAKE, Envelope
from actorq.reply import Reply
from actorq.signals import Halt, InjectedCrash, TimerFired
from actorq.timers import VOID, Timers


log = logging.getLogger("actorq.actor")

#: With n messages queued, other tasks run after at most this many (promise 8).
BURST = 64
#: Flushes between two tries to linger, while lingering is in vain.
PATIENCE = 16

#: No message is being handled.  Not None, which may be a message.
_NOTHING: Final = object()


class ExitKind(Enum):
    """How a life ended."""

    NORMAL = "normal"  #: the actor stopped itself
    STOPPED = "stopped"  #: its supervisor stopped it
    CRASHED = "crashed"
    FATAL = "fatal"  #: KeyboardInterrupt or SystemExit came up in it


@attrs.frozen
class Exit:
    """The end of one life."""

    kind: ExitKind
    cause: BaseException | None = None

    def __str__(self) -> str:
        return self.kind.value if self.cause is None else f"{self.kind.value}: {self.cause!r}"


class Incarnation:
    """One life."""

    def __init__(self, cell: Cell, factory: Callable[[], Actor[Any]]) -> None:
        self.cell = cell
        self._factory = factory
        self.nursery: trio.Nursery
        self.timers = Timers(cell.mailbox.push_signal, self.start_soon)
        self._item: Any = _NOTHING  #: what is being handled: a bare tell or an Envelope
        self._reply: Reply[Any] | None = None  #: its reply, unless it was deferred
        self._deferred: dict[Reply[Any], None] = {}  #: in the order in which they were put off
        self._halting = False

    def defer(self) -> Reply[Any]:
        """See `Actor.defer`."""
        if self._item is _NOTHING:
            raise RuntimeError("defer() is called while a message is handled, from its handler")
        reply, self._reply = self._reply, None
        if reply is None:
            reply = Reply()
            reply._abandon()  # a tell: nobody waits
        reply._defer(self._deferred)
        return reply

    def halt(self) -> None:
        """End after the message in progress."""
        self._halting = True
        self.cell.mailbox.push_signal(Halt())

    def start_soon(
        self, async_fn: Callable[..., Awaitable[object]], *args: Any, name: object = None
    ) -> None:
        """See `Actor.start_soon`."""
        self.nursery.start_soon(self._child, async_fn, args, name=name or async_fn)

    async def _child(self, async_fn: Callable[..., Awaitable[object]], args: Any) -> None:
        try:
            await async_fn(*args)
        except Exception as error:
            # Promise 11: at once.  The message in progress may yet take its time to be cancelled,
            # and so may other child tasks.
            if type(self._item) is Envelope:
                self._item.reply.fail(self._failure(error, handled=True))
            self._fail_deferred(error)
            raise

    def _make(self) -> Actor[Any]:
        actor: object = self._factory()
        if not isinstance(actor, Actor):
            raise TypeError(
                f"the factory of actor {self.cell.name!r} made {actor!r}; expected an Actor"
            )
        actor._life = self
        return actor

    async def run(self, started: Callable[[], None]) -> Exit:
        """Live once; *started* is called when `on_start` has returned."""
        cell = self.cell
        crash: Exception | None = None
        running_cell.set(cell)
        cell.loop_task = trio.lowlevel.current_task()
        cell.state = "starting"
        actor: Actor[Any] | None = None
        ready = False
        try:
            try:
                async with trio.open_nursery() as self.nursery:
                    try:
                        actor = self._make()
                        if cell.tap is not None:
                            cell.tap.born(cell, actor)
                        await actor.on_start()
                        ready = True
                        cell.state = "running"
                        started()
                        await self._serve(actor)
                    except Exception as error:  # noqa: BLE001 - every crash is the supervisor's
                        crash = error
                        # at once, before child tasks unwind: promise 11
                        self._settle_current(LetterReason.CRASHED, error)
                        self._fail_deferred(error)
                    self.nursery.cancel_scope.cancel(f"actor {cell.name!r} ended")
            except* Exception as group:  # noqa: BLE001 - child tasks' crashes, the supervisor's too
                crash = group if crash is None else crash
        finally:
            if cell.end_reason is None:
                cell.state = "down"
            self._settle_current(LetterReason.INTERRUPTED, crash)
            if crash is not None:
                self._fail_deferred(crash)
            if ready and actor is not None:
                try:
                    with trio.move_on_after(cell.grace, shield=True):
                        await actor.on_stop()
                except Exception as error:
                    log.exception("actor %r failed in on_stop", cell.name)
                    crash = error if crash is None else crash
            self._fail_deferred(crash)
            cell.loop_task = None  # not before on_stop, whose asks may close a circle too
            if actor is not None:
                actor._life = None
            if cell.tap is not None:
                cell.tap.died(cell, crash)
        if crash is not None:
            return Exit(ExitKind.CRASHED, crash)
        return Exit(ExitKind.NORMAL)

    async def _serve(self, actor: Actor[Any]) -> None:
        """Handle signals and messages until halted, or until the mailbox is closed and empty."""
        cell = self.cell
        mailbox = cell.mailbox
        signals = mailbox.signals
        receive = actor.receive
        flush = actor.flush if type(actor).flush is not Actor.flush else None
        unflushed = False
        lingered = 0  #: passes of the scheduler that this burst has waited for more
        reply: Reply[Any] | None
        impatient = 0  #: flushes to go without lingering, since the last time was in vain
        budget = BURST
        while True:
            if signals:
                signal = signals.popleft()
                if type(signal) is Halt:
                    if not self._halting:
                        continue  # meant for an earlier life
                    if unflushed and flush is not None:
                        await flush()
                    return
                await self._on_signal(actor, signal)
                unflushed = True
                item = WAKE
            else:
                try:
                    item = mailbox.receive_nowait()
                except trio.WouldBlock:
                    if unflushed and flush is not None:
                        if actor.linger and lingered < 2:
                            # two: in the first pass, we may come before who was just answered
                            if lingered or not impatient:
                                lingered += 1
                                impatient = PATIENCE
                                await trio.lowlevel.checkpoint()
                                continue
                            impatient -= 1
                        lingered = 0
                        unflushed = False
                        await flush()
                        if signals:
                            continue
                    try:
                        item = await mailbox.receive()
                    except trio.EndOfChannel:
                        if signals:
                            continue  # came between the close and this wake-up
                        break
                    budget = BURST
                except trio.EndOfChannel:
                    break
                if item is WAKE:
                    continue
                self._item = item
                if type(item) is Envelope:
                    message = item.message
                    reply = self._reply = item.reply
                else:
                    message = item
                    reply = self._reply = None
                if cell.before is not None:
                    cell.before(message)
                try:
                    value = await receive(message)
                except Reject as refusal:
                    if reply is not None:
                        reply.fail(refusal)  # deferred or not
                else:
                    if reply is not None and self._reply is reply:
                        reply.send(value)
                self._item = _NOTHING
                cell.handled += 1
                unflushed = True
                if lingered:
                    lingered = impatient = 0
            budget -= 1
            if budget <= 0:
                if flush is not None:
                    unflushed = False
                    await flush()
                await trio.lowlevel.checkpoint()  # promise 8
                budget = BURST
        if flush is not None and unflushed:
            await flush()
        await actor.drain()

    async def _on_signal(self, actor: Actor[Any], signal: Any) -> None:
        if type(signal) is TimerFired:
            message = self.timers.take(signal)
            if message is not VOID:
                try:
                    await actor.receive(message)
                except Reject:
                    log.debug("actor %r refused its own timer's %r", self.cell.name, message)
        elif type(signal) is InjectedCrash:
            raise signal.error
        else:
            await actor.signal(signal)

    def _settle_current(self, reason: LetterReason, crash: Exception | None) -> None:
        """The message in progress will not be finished: tell its asker, or the dead letters."""
        item, self._item = self._item, _NOTHING
        if item is not _NOTHING:
            self.cell.bury(item, reason, self._failure(crash, handled=True))

    def _fail_deferred(self, crash: Exception | None) -> None:
        for reply in tuple(self._deferred):
            reply.fail(self._failure(crash, handled=False))
        self._deferred.clear()

    def _failure(self, crash: Exception | None, *, handled: bool) -> Exception:
        if crash is None and self.cell.mailbox.closed:
            return ActorStopped(self.cell.name)
        detail = "was stopped" if crash is None else "crashed"
        error = ActorFailed(self.cell.name, handled=handled, detail=detail, ref=self.cell.ref)
        error.__cause__ = crash
        return error
