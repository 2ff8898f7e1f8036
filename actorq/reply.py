"""A reply: the one-slot answer to an ask, settled exactly once (promise 9).

Made by the asker, settled by whoever holds it: the actor's loop, or, once deferred, any task of
that incarnation.  Carries values and `Exception`s only: a `Cancelled` that is raised again in
another task would be swallowed by that task's nursery, after cancelling its siblings (promise 16).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import trio
from trio.lowlevel import Abort, RaiseCancelT, current_task, reschedule, wait_task_rescheduled


if TYPE_CHECKING:
    from actorq.cell import Cell

R = TypeVar("R")


class _State(Enum):
    PENDING = auto()
    VALUE = auto()
    ERROR = auto()
    ABANDONED = auto()


_PENDING: Final = _State.PENDING
_VALUE: Final = _State.VALUE
_ERROR: Final = _State.ERROR
_ABANDONED: Final = _State.ABANDONED


class Reply(Generic[R]):
    """What `Actor.defer` hands out: answer it later with `send` or `fail`.

    If the incarnation that deferred it ends first, it fails with it (promise 13).
    """

    __slots__ = ("_asker", "_content", "_owner", "_state", "_task", "_then")

    def __init__(self) -> None:
        self._state = _PENDING
        self._content: Any = None
        self._task: trio.lowlevel.Task | None = None
        self._asker: Cell | None = None  #: the actor whose loop waits for this, if one does
        self._then: Callable[[Reply[R]], None] | None = None  #: called when settled
        self._owner: dict[Reply[Any], None] | None = None  #: an incarnation's deferred replies

    @property
    def abandoned(self) -> bool:
        """Nobody waits any more: the asker was cancelled, or the message was a tell."""
        return self._state is _ABANDONED

    @property
    def settled(self) -> bool:
        """The answer has been given."""
        return self._state is _VALUE or self._state is _ERROR

    @trio.lowlevel.enable_ki_protection
    def send(self, value: R) -> bool:
        """Answer with *value*; False if nobody waits any more, or an answer was given before."""
        return self._settle(_VALUE, value)

    @trio.lowlevel.enable_ki_protection
    def fail(self, error: Exception) -> bool:
        """Answer with *error*, which is raised in the asker."""
        if not isinstance(error, Exception):
            raise TypeError(
                f"a reply carries values and Exceptions, never {type(error).__name__}: "
                f"it would be raised in a task that it was not meant for"
            )
        return self._settle(_ERROR, error)

    def _settle(self, state: _State, content: Any) -> bool:
        if self._owner is not None:
            self._owner.pop(self, None)
            self._owner = None
        if self._state is not _PENDING:
            return False
        self._state = state
        self._content = content
        if self._asker is not None:
            self._unblock_asker()
        if self._task is not None:
            reschedule(self._task)
            self._task = None
        elif self._then is not None:
            then, self._then = self._then, None
            then(self)
        return True

    @property
    def outcome(self) -> R | Exception:
        """What it was settled with: the value, or the error."""
        if not self.settled:
            raise RuntimeError("this reply has not been settled yet")
        return self._content  # type: ignore[no-any-return]

    def _unblock_asker(self) -> None:
        """The asking loop no longer waits for this actor: it is in no circle by this ask.

        At once, not when its task runs: until then the actor may handle a message that asks back.
        """
        if self._asker is not None:
            self._asker.waiting_on = None
            self._asker = None

    def _defer(self, owner: dict[Reply[Any], None]) -> None:
        """Put the reply aside; *owner* has those that end with its incarnation, oldest first."""
        if self._state is _PENDING:
            self._owner = owner
            owner[self] = None
            self._unblock_asker()  # promise 17: a deferred reply blocks no loop

    def _abandon(self) -> None:
        """Mark the reply of a tell: whatever is sent to it is discarded."""
        self._state = _ABANDONED

    @trio.lowlevel.enable_ki_protection
    def _abort(self, _raise_cancel: RaiseCancelT) -> Abort:
        self._state = _ABANDONED  # promise 14: the message is still handled, its reply discarded
        self._task = None
        self._unblock_asker()
        if self._owner is not None:
            self._owner.pop(self, None)
            self._owner = None
        return Abort.SUCCEEDED

    # a Ctrl-C between the two lines that park the task would leave a dead one to be woken
    @trio.lowlevel.enable_ki_protection
    async def _wait(self) -> R:
        if self._state is _PENDING:
            self._task = current_task()
            await wait_task_rescheduled(self._abort)
        if self._state is _ERROR:
            try:
                raise self._content
            finally:
                self._content = None  # the traceback holds this frame: break the circle
        return self._content  # type: ignore[no-any-return]
