"""The ref: the handle on an actor that everybody else holds.  Stays valid over restarts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import trio
from trio.lowlevel import checkpoint_if_cancelled, current_task

from actorq.cell import Cell, running_cell
from actorq.errors import ActorStopped, MailboxFull
from actorq.mailbox import Envelope
from actorq.reply import Reply
from actorq.statistics import MailboxStatistics


R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
M_contra = TypeVar("M_contra", contravariant=True)


def _as(cell: Cell | None, then: Callable[[Reply[R]], None]) -> Callable[[Reply[R]], None]:
    """*then* on behalf of *cell*: in a simulation, who speaks is told by that."""

    def call(reply: Reply[R]) -> None:
        token = running_cell.set(cell)
        try:
            then(reply)
        finally:
            running_cell.reset(token)

    return call


class Message(Generic[R_co]):
    """The root of a protocol's messages; the parameter is the type of the reply.

    Write it as a frozen attrs class: `@attrs.frozen class Get(Message[int]): ...`
    """

    __slots__ = ()


class ActorRef(Generic[M_contra]):
    """Send to an actor: `tell` and forget, or `ask` and wait for the reply."""

    __slots__ = ("__weakref__", "_cell")

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    @property
    def name(self) -> str:
        """The name under which the actor was spawned."""
        return self._cell.name

    @property
    def is_alive(self) -> bool:
        """False once the actor has ended for good; True while it is restarted."""
        return self._cell.end_reason is None

    async def tell(self, message: M_contra) -> None:
        """Send *message*; wait while the mailbox is full.

        A checkpoint only if it blocks, but a cancellation that is already due is always seen.
        When it has returned, the message was accepted; when it raised `Cancelled`, it was not.
        Raises `ActorStopped`, or `AskDeadlock` if waiting for room would wait for ever.
        """
        await checkpoint_if_cancelled()
        try:
            self._cell.mailbox.send_nowait(message)
        except trio.WouldBlock:
            await self._send_blocking(message)
        except trio.ClosedResourceError:
            raise self._stopped() from None
        self._cell.accepted += 1

    def tell_nowait(self, message: M_contra) -> None:
        """Send *message* without waiting; raises `MailboxFull` or `ActorStopped`."""
        cell = self._cell
        try:
            cell.mailbox.send_nowait(message)
        except trio.WouldBlock:
            raise MailboxFull(cell.name, cell.mailbox.capacity, message) from None
        except trio.ClosedResourceError:
            raise self._stopped() from None
        cell.accepted += 1

    async def ask(self, message: Message[R]) -> R:
        """Send *message* and wait for its reply.  Always a checkpoint.

        Takes no timeout: write `with trio.fail_after(5): await ref.ask(...)`.
        Raises what the handler raised as `Reject`; `ActorFailed` (with the cause) if the actor
        crashed on it; `ActorStopped` if it has ended; `AskDeadlock` if it would wait for ever.
        """
        await checkpoint_if_cancelled()
        cell = self._cell
        reply: Reply[R] = Reply()
        asker = running_cell.get()
        # a child task's ask blocks nobody's loop: never part of a circle
        if asker is not None and asker.loop_task is current_task():
            return await self._ask_from_actor(message, reply, asker)
        try:
            cell.mailbox.send_nowait(Envelope(message, reply))
        except trio.WouldBlock:
            await self._send_blocking(Envelope(message, reply))
        except trio.ClosedResourceError:
            raise self._stopped() from None
        cell.accepted += 1
        return await reply._wait()

    def ask_nowait(self, message: Message[R], then: Callable[[Reply[R]], None]) -> None:
        """Send *message* and go on; *then* is called with the reply once it is settled.

        It is called inside the step that settles, in whatever task that is: it must not raise, and
        cannot wait.  For a sender that would otherwise park a task for each of very many replies.
        Raises `MailboxFull` or `ActorStopped`.
        """
        cell = self._cell
        reply: Reply[R] = Reply()
        reply._then = then if cell.tap is None else _as(running_cell.get(), then)
        try:
            cell.mailbox.send_nowait(Envelope(message, reply))
        except trio.WouldBlock:
            raise MailboxFull(cell.name, cell.mailbox.capacity, message) from None
        except trio.ClosedResourceError:
            raise self._stopped() from None
        cell.accepted += 1

    async def _ask_from_actor(self, message: Message[R], reply: Reply[R], asker: Cell) -> R:
        cell = self._cell
        asker.check_cycle(cell)
        asker.waiting_on = cell
        if asker.when_waiting is not None:
            asker.when_waiting()
        reply._asker = asker  # whoever answers or defers the reply lifts the edge: promise 17
        try:
            try:
                cell.mailbox.send_nowait(Envelope(message, reply))
            except trio.WouldBlock:
                await self._send(Envelope(message, reply))
            except trio.ClosedResourceError:
                raise self._stopped() from None
            cell.accepted += 1
            return await reply._wait()
        finally:
            reply._unblock_asker()

    async def _send_blocking(self, item: Any) -> None:
        cell = self._cell
        asker = running_cell.get()
        if asker is None or asker.loop_task is not current_task():
            asker = None
        else:  # two loops that wait for room in each other's mailbox are the same deadlock
            asker.check_cycle(cell)
            asker.waiting_on = cell
            asker.waiting_for_room = True
            if asker.when_waiting is not None:
                asker.when_waiting()
        try:
            await self._send(item)
        finally:
            if asker is not None:
                asker.waiting_on = None
                asker.waiting_for_room = False

    async def _send(self, item: Any) -> None:
        try:
            await self._cell.mailbox.send(item)
        except trio.ClosedResourceError:
            raise self._stopped() from None

    def _stopped(self) -> ActorStopped:
        return ActorStopped(self._cell.name, self._cell.end_reason or "stopping")

    async def stopped(self) -> str:
        """Wait until the actor has ended for good; the reason.  Always a checkpoint."""
        await self._cell.ended.wait()
        return self._cell.end_reason or "stopped"

    def statistics(self) -> MailboxStatistics:
        """This actor's counts, now."""
        return self._cell.statistics()

    def __repr__(self) -> str:
        return f"<ActorRef {self._cell.name!r} {self._cell.state}>"
