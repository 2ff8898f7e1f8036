"""The reply: one slot, filled once."""

from __future__ import annotations

import contextlib
import gc
import weakref

import pytest
import trio
import trio.testing

from actorq.reply import Reply


def test_it_is_settled_once() -> None:
    """The first answer counts; `send` and `fail` say whether it was theirs."""
    reply: Reply[int] = Reply()
    assert reply.send(1)
    assert reply.settled
    assert not reply.send(2)
    assert not reply.fail(ValueError())
    assert not reply.abandoned


async def test_it_can_be_answered_before_it_is_waited_for() -> None:
    """A handler that answers before the asker has parked loses nothing."""
    early: Reply[int] = Reply()
    early.send(1)
    assert await early._wait() == 1
    failed: Reply[int] = Reply()
    failed.fail(LookupError("no"))
    with pytest.raises(LookupError, match="no"):
        await failed._wait()


async def test_a_cancelled_wait_abandons_it() -> None:
    """Whoever answers then is told that nobody listens."""
    reply: Reply[int] = Reply()
    with trio.CancelScope() as scope:
        scope.cancel()
        await reply._wait()
    assert reply.abandoned
    assert not reply.settled
    assert not reply.send(1)


async def test_an_answer_in_the_instant_of_the_cancellation_wins() -> None:
    """Settled first, cancelled second: the value arrives, and the scope is cancelled after."""
    reply: Reply[int] = Reply()
    got: list[int] = []

    async def wait() -> None:
        got.append(await reply._wait())
        await trio.lowlevel.checkpoint()
        got.append(-1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert reply.send(5)
        nursery.cancel_scope.cancel()
    assert got == [5]


async def test_an_error_leaves_no_circle_of_references() -> None:
    """A failed ask is freed when the last reference goes, not at the next collection."""

    class Marker(Exception):
        pass

    made: list[weakref.ref[Marker]] = []

    def new() -> Marker:
        error = Marker()
        made.append(weakref.ref(error))
        return error

    async def fail() -> None:
        reply: Reply[int] = Reply()
        reply.fail(new())
        with contextlib.suppress(Marker):
            await reply._wait()

    gc.disable()
    try:
        await fail()
        assert made[0]() is None
    finally:
        gc.enable()
