"""The mailbox: two lanes on one channel."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing

from actorq.mailbox import WAKE, Mailbox
from actorq.signals import Halt


async def test_emptying_gives_back_what_was_never_received() -> None:
    """In order, and without the wake-ups."""
    mailbox = Mailbox(math.inf)
    for n in range(3):
        mailbox.send_nowait(n)
    mailbox.push_signal(Halt())
    assert (mailbox.queued, mailbox.peak_queued) == (3, 3)
    assert mailbox.empty() == [0, 1, 2]
    assert not mailbox.signals
    assert mailbox.empty() == []
    with pytest.raises(trio.ClosedResourceError):
        mailbox.send_nowait(4)


async def test_closing_keeps_what_is_queued_and_turns_senders_away() -> None:
    """Blocked senders too: theirs was not accepted."""
    mailbox = Mailbox(1)
    mailbox.send_nowait(1)

    async def blocked() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await mailbox.send(2)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(blocked)
        await trio.testing.wait_all_tasks_blocked()
        mailbox.close()
        mailbox.close()
    assert mailbox.receive_nowait() == 1
    with pytest.raises(trio.EndOfChannel):
        mailbox.receive_nowait()


async def test_a_signal_wakes_a_parked_receiver_once() -> None:
    """Two signals in one step are one wake-up, and leave nothing in the user's lane."""
    mailbox = Mailbox(0)
    got: list[object] = []

    async def receive() -> None:
        got.append(await mailbox.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        mailbox.push_signal(Halt())
        mailbox.push_signal(Halt())
    assert got == [WAKE]
    assert len(mailbox.signals) == 2
    with pytest.raises(trio.WouldBlock):
        mailbox.receive_nowait()


async def test_a_signal_to_a_closed_mailbox_is_kept_quiet() -> None:
    """There is nobody left to wake."""
    mailbox = Mailbox(0)
    mailbox.close()
    mailbox.push_signal(Halt())
    assert len(mailbox.signals) == 1
