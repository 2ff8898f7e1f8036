"""Tests of tasks: run it with `pytest examples/guide/test_thumbnails.py`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

import actorq
from actorq.testing import Tape, TrioMachine, crash, crash_at, schedules, simulate


@actorq.task(retries=2)
async def thumbnail(photo: str) -> str:
    await trio.sleep(60)
    return f"{photo}, small"


@pytest.mark.trio
async def test_a_thumbnail(autojump_clock: trio.testing.MockClock) -> None:
    async with actorq.open_system() as sys:
        handle = await sys.enqueue(thumbnail, "cat.jpg")
        assert await handle.result() == "cat.jpg, small"
    assert trio.current_time() == pytest.approx(60)  # and no time went by


@pytest.mark.trio
async def test_the_function_alone(autojump_clock: trio.testing.MockClock) -> None:
    assert await thumbnail("cat.jpg") == "cat.jpg, small"


async def ten_thumbnails() -> None:
    async with actorq.open_system(concurrency=3) as sys:
        handles = await sys.enqueue_many(thumbnail, [(f"{n}.jpg",) for n in range(10)])
        assert [await handle.result() for handle in handles] == [
            f"{n}.jpg, small" for n in range(10)
        ]


@given(tape=schedules())
@settings(max_examples=20)
def test_ten_thumbnails_under_any_schedule(tape: Tape) -> None:
    simulate(ten_thumbnails, tape=tape)


@given(
    tape=schedules(),
    victim=st.sampled_from(["results", "broker", "middleware", "pool", "scheduler"]),
    moment=st.sampled_from([0.0, 30.0, 60.0]),
)
@settings(max_examples=20)
def test_no_crash_loses_a_thumbnail(tape: Tape, victim: str, moment: float) -> None:
    async def program() -> None:
        async with actorq.open_system() as sys:
            handle = await sys.enqueue(thumbnail, "cat.jpg")
            await trio.sleep(moment)
            crash(sys.actor(victim))
            assert await handle.result() == "cat.jpg, small"

    simulate(program, tape=tape)


def test_an_uncertain_enqueue_can_be_repeated() -> None:
    async def program() -> int:
        once = thumbnail.using(task_id="cat")
        async with actorq.open_system() as sys:
            crash_at(sys.actor("broker"), 1)  # on the next message that it gets
            try:
                handle = await sys.enqueue(once, "cat.jpg")
            except actorq.EnqueueUncertain:
                handle = await sys.enqueue(once, "cat.jpg")
            await handle.result()
            await sys.wait_idle()
            return (await sys.queue_statistics()).done

    assert simulate(program) == 1


class Album(TrioMachine):
    """Any order of enqueueing, cancelling and waiting: no photo is lost."""

    @asynccontextmanager
    async def session(self) -> AsyncIterator[actorq.System]:
        self.handles: list[actorq.TaskHandle[str]] = []
        async with actorq.open_system(concurrency=2) as sys:
            yield sys

    @initialize(tape=schedules())
    def draw(self, tape: Tape) -> None:
        self.play(tape)

    @rule()
    def add(self) -> None:
        self.handles.append(self.call(self.opened.enqueue, thumbnail, "cat.jpg"))

    @rule(seconds=st.integers(0, 100))
    def wait(self, seconds: int) -> None:
        self.call(trio.sleep, seconds)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if self.handles:
            handle = data.draw(st.sampled_from(self.handles))
            took_effect = self.call(handle.cancel)
            outcome = self.call(handle.wait_result)
            assert took_effect == isinstance(outcome.error, actorq.TaskCancelled)

    @invariant()
    def every_photo_is_somewhere(self) -> None:
        counts = self.call(self.opened.queue_statistics)
        assert len(self.handles) == (
            counts.scheduled + counts.ready + counts.leased + counts.done + counts.dead
        )


TestAlbum = Album.TestCase
TestAlbum.settings = settings(max_examples=10, stateful_step_count=10)
