"""The state machine host, driven by a machine of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule, run_state_machine_as_test

import actorq
from actorq.testing import Stuck, Tape, schedules
from actorq.testing.machine import TrioMachine


class Sums(TrioMachine):
    """A channel, a task that sums what comes out, and a model that is an int."""

    def __init__(self) -> None:
        self.total = self.expected = 0
        self.closed = False
        super().__init__()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[trio.MemorySendChannel[int]]:
        send, receive = trio.open_memory_channel[int](0)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.consume, receive)
                with send:
                    yield send
        finally:
            self.closed = True

    async def consume(self, receive: trio.MemoryReceiveChannel[int]) -> None:
        async with receive:
            async for n in receive:
                self.total += n

    @initialize(tape=schedules())
    def draw(self, tape: Tape) -> None:
        self.play(tape)

    @rule(n=st.integers(0, 9))
    def send(self, n: int) -> None:
        self.call(self.opened.send, n)
        self.expected += n

    @rule(n=st.integers(0, 9))
    def send_later(self, n: int) -> None:
        async def later() -> None:
            await trio.sleep(1)
            await self.opened.send(n)

        async def start() -> None:
            self.nursery.start_soon(later)
            await trio.sleep(2)

        self.call(start)
        self.expected += n

    @rule()
    def an_error_comes_out(self) -> None:
        async def fail() -> None:
            raise ValueError("on purpose")

        with pytest.raises(ValueError, match="on purpose"):
            self.call(fail)

    @rule()
    def a_deadlock_is_an_error(self) -> None:
        with pytest.raises(Stuck):
            self.call(trio.Event().wait)

    @invariant()
    def nothing_is_lost(self) -> None:
        self.settle()
        assert self.total == self.expected

    def teardown(self) -> None:
        super().teardown()
        assert self.closed


TestSums = Sums.TestCase
TestSums.settings = settings(max_examples=20, stateful_step_count=15)


def test_a_session_that_fails_to_open_fails_the_machine() -> None:
    """The error is the session's, and the scheduler is put back."""

    class Fails(TrioMachine):
        @asynccontextmanager
        async def session(self) -> AsyncIterator[Any]:
            if self.opened is None:
                raise OSError("no such thing")
            yield

        @rule()
        def nothing(self) -> None: ...

    with pytest.raises(OSError, match="no such thing"):
        Fails()


def test_a_failing_rule_or_invariant_tells_what_happened() -> None:
    """In a note; an error that the rule expected carries none."""

    @actorq.task
    async def greet(name: str) -> str:
        await trio.lowlevel.checkpoint()
        return f"hello {name}"

    expected: list[BaseException] = []

    class Greets(TrioMachine):
        greeted = 0

        @asynccontextmanager
        async def session(self) -> AsyncIterator[actorq.System]:
            async with actorq.open_system() as system:
                yield system

        @rule()
        def greet(self) -> None:
            handle = self.call(self.opened.enqueue, greet, "Ann")
            assert self.call(handle.result) == "hello Ann"
            self.greeted += 1
            with pytest.raises(actorq.ResultGetError) as caught:
                self.call(self.opened.handle("nobody's").get_result)
            expected.append(caught.value)

        @invariant()
        def not_twice(self) -> None:
            assert self.greeted < 2

    quick = settings(max_examples=3, stateful_step_count=3, phases=[Phase.generate], database=None)
    with pytest.raises(AssertionError) as caught:
        run_state_machine_as_test(Greets, settings=quick)
    (note,) = [each for each in caught.value.__notes__ if each.startswith("What happened")]
    assert "greet #2   ○ returned 'hello Ann'" in note
    assert "stopped" not in note
    assert not any(getattr(each, "__notes__", []) for each in expected)


def test_a_program_without_actors_has_no_word_about_them() -> None:
    """What happened is then in the failing program alone."""

    class Counts(TrioMachine):
        counted = 0

        @rule()
        def count(self) -> None:
            self.call(trio.lowlevel.checkpoint)
            self.counted += 1
            assert self.counted < 2

    quick = settings(max_examples=3, stateful_step_count=3, phases=[Phase.generate], database=None)
    with pytest.raises(AssertionError) as caught:
        run_state_machine_as_test(Counts, settings=quick)
    notes = "\n".join(caught.value.__notes__)
    assert "state.count()" in notes
    assert "What happened" not in notes
    assert "no actor" not in notes
