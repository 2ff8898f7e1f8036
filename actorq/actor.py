"""The actor: what a user subclasses.

An instance is one incarnation's state; what it needs of the kernel it reaches through `_life`,
which the incarnation sets before `on_start` and which nobody else touches.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, TypeVarTuple

from actorq.ref import ActorRef
from actorq.reply import Reply
from actorq.signals import Signal


if TYPE_CHECKING:
    from actorq.incarnation import Incarnation

M = TypeVar("M")
Ts = TypeVarTuple("Ts")


class Actor(Generic[M]):
    """State behind a mailbox: messages are handled one at a time, in the order they were accepted.

    The parameter is the protocol, a union of `Message` classes.  A restart makes a new instance (by
    calling the factory that was given to `spawn` again); ref, mailbox and watchers stay.
    """

    #: Let other tasks run before the next `flush`, as long as that brings more messages: a sender in
    #: a loop then makes a batch.  Costs two passes of the scheduler when nothing comes.  May be set
    #: by `receive` and taken back by `flush`.
    linger: bool = False

    _life: Incarnation | None = None

    async def receive(self, message: M) -> Any:
        """Handle one message; what is returned answers an ask.

        Raise `Reject` to refuse: it reaches the asker and the actor lives on.  Anything else that
        is raised crashes the incarnation, and the supervisor decides.
        """
        raise NotImplementedError(
            f"{type(self).__name__}.receive is missing: "
            f"write `async def receive(self, message): ...`; the message was {message!r}"
        )

    async def on_start(self) -> None:
        """Run before the first message of each life; the next sibling starts after it returns."""

    async def on_stop(self) -> None:
        """Clean up at the end of each life whose `on_start` returned, after a crash too.

        Runs shielded from cancellation for as long as the actor's `grace` (5 seconds unless told).
        """

    async def signal(self, signal: Signal) -> None:
        """Handle what the kernel tells, such as `Terminated` of a watched actor."""

    async def flush(self) -> None:
        """Called after a burst of messages: when no more are queued, or after 64 of them.

        The place to handle as one batch what `receive` has put aside with `defer`.
        """

    async def drain(self) -> None:
        """Called on an orderly stop, after the last queued message, before child tasks are ended.

        The actor's drain deadline bounds it.
        """

    # --- what a handler may call ---

    @property
    def ref(self) -> ActorRef[M]:
        """This actor's own ref."""
        return self._alive.cell.ref

    def defer(self) -> Reply[Any]:
        """Take the answer of the message in progress into your own hands.

        Whatever `receive` returns is then ignored; call `reply.send` or `reply.fail` later, from a
        handler or a child task of this incarnation.
        """
        return self._alive.defer()

    def start_soon(
        self,
        async_fn: Callable[[*Ts], Awaitable[object]],
        *args: *Ts,
        name: str | None = None,
    ) -> None:
        """Start a child task, which ends with this incarnation and whose crash is the actor's."""
        self._alive.start_soon(async_fn, *args, name=name)

    def set_timer(self, key: object, delay: float, message: M, *, repeat: bool = False) -> None:
        """Send *message* to this actor after *delay* seconds (again and again with *repeat*).

        One timer for each *key*: setting it again replaces it, even if it has fired already and its
        message is still queued.
        """
        self._alive.timers.set(key, delay, message, delay if repeat else None)

    def cancel_timer(self, key: object) -> bool:
        """Forget the timer of *key*, even if its message is queued; False if there was none."""
        return self._alive.timers.cancel(key)

    def has_messages(self) -> bool:
        """Whether more are queued: after a `flush` that leaves something to do, another one comes."""
        return self._alive.cell.mailbox.has_messages()

    def watch(self, ref: ActorRef[Any]) -> None:
        """Be told with a `Terminated` signal when *ref* ends for good; at once if it has."""
        ref._cell.watch(self._alive.cell)

    def unwatch(self, ref: ActorRef[Any]) -> None:
        """Undo `watch`, even if the signal is queued already."""
        ref._cell.unwatch(self._alive.cell)

    def life_is_over(self) -> bool:
        """Whether this incarnation has ended, or is about to: no child task can be started any more.

        For what others call: from a crash on, the nursery may be closed at any moment.
        """
        life = self._life
        return life is None or life.nursery.cancel_scope.cancel_called

    def stop(self) -> None:
        """End this incarnation after the message in progress.

        A permanent actor is then restarted; others end for good.
        """
        self._alive.halt()

    @property
    def _alive(self) -> Incarnation:
        if self._life is None:
            raise RuntimeError(
                f"{type(self).__name__} is not running: an actor's methods work from on_start on; "
                f"start it with `await sys.spawn({type(self).__name__}, name=...)`"
            )
        return self._life
