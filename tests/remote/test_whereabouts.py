"""On which line jobs sit, asked across the processes that share a server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

import actorq
from actorq import Context, Depends
from actorq.engines.remote.acts import Topic
from actorq.engines.remote.broker import RemoteBroker
from actorq.engines.remote.storage import understood
from actorq.engines.remote.whereabouts import PATIENCE, TOGETHER, pieces


pytestmark = pytest.mark.engine

NewBroker = Callable[[], RemoteBroker]


@pytest.fixture(params=["redis", "postgres"])
def new_broker(request: pytest.FixtureRequest, namespace: str) -> NewBroker:
    """What each process makes."""
    url = request.getfixturevalue(f"{request.param}_server").url
    if request.param == "redis":
        return lambda: actorq.RedisBroker(url, namespace=namespace)
    return lambda: actorq.PostgresBroker(url, schema=namespace)


@actorq.task
async def waits(ctx: Context = Depends()) -> None:
    """Say that it has begun, and wait."""
    ctx.system.state.begun[ctx.message.task_id].set()
    await trio.sleep_forever()


@asynccontextmanager
async def jobs(broker: RemoteBroker, *ids: str) -> AsyncIterator[None]:
    """A worker with these, which nobody else gets."""
    own = ids[0]
    async with actorq.open_system(broker, tasks=[waits], queues=[own], grace=0) as sys:
        sys.state.begun = {each: trio.Event() for each in ids}
        handles = [await sys.enqueue(waits.using(task_id=each, queue=own)) for each in ids]
        for event in sys.state.begun.values():
            await event.wait()
        yield
        for handle in handles:
            await handle.cancel()


@asynccontextmanager
async def client(broker: RemoteBroker) -> AsyncIterator[RemoteBroker]:
    """Who looks: by its broker, as this process has the jobs of all."""
    async with actorq.open_system(broker, role="client"):
        yield broker


async def lines_by(broker: RemoteBroker, *ids: str) -> Mapping[str, str]:
    """Once all of these are said: a worker that has just begun may not hear yet."""
    with trio.fail_after(20):
        while True:
            lines = await broker.look()
            if lines.keys() >= set(ids):
                return lines


async def test_who_looks_is_answered_by_who_works(new_broker: NewBroker) -> None:
    """By each of several workers, in far less time than the patience; one that has just come, too."""
    async with (
        jobs(new_broker(), "a", "b"),
        jobs(new_broker(), "c"),
        client(new_broker()) as broker,
    ):
        lines = await lines_by(broker, "a", "b", "c")
        assert all(line.startswith(f"waits ({__file__}:") for line in lines.values())
        began = trio.current_time()
        assert await broker.look() == lines
        assert trio.current_time() - began < PATIENCE


async def test_a_worker_looks_as_well(new_broker: NewBroker) -> None:
    """It does not ask itself."""
    working = new_broker()
    async with jobs(working, "a"):
        assert await working.look() == {}
        async with jobs(new_broker(), "b"):
            await lines_by(working, "b")


async def test_nobody_is_asked_where_nobody_works(new_broker: NewBroker) -> None:
    """There is nothing to wait for."""
    async with actorq.open_system(new_broker()), client(new_broker()) as broker:
        assert len(await broker.workers()) == 1
        began = trio.current_time()
        assert await broker.look() == {}
        assert trio.current_time() - began < PATIENCE


async def test_one_that_does_not_answer_is_waited_for_a_moment(
    new_broker: NewBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that blocks its loop has no line; who looks goes on without it."""
    mute = new_broker()
    monkeypatch.setattr(mute._whereabouts, "hear", lambda *_: None)
    async with jobs(mute, "a"), client(new_broker()) as broker:
        with trio.fail_after(20):
            assert await broker.look() == {}
            async with jobs(new_broker(), "b"):
                await lines_by(broker, "b")


async def test_words_of_others_are_not_ours(new_broker: NewBroker) -> None:
    """Whatever somebody says there by hand, it stops nobody from hearing."""
    async with jobs(new_broker(), "a"), client(new_broker()) as broker:
        await lines_by(broker, "a")
        other = new_broker().storage
        await other.open()
        try:
            topics: tuple[Topic, ...] = ("looks", "tasks", "ends")
            for topic in topics:
                await other.say(topic, [])
                await other.say(topic, ["x" * 40])
            await other.say("looks", ["nobody", "1"])
            await other.say("lines", ["1"], to=broker.storage.peer)
        finally:
            await other.close()
        assert set(await broker.look()) == {"a"}


def test_what_is_no_word_of_ours_is_passed_over() -> None:
    """It may be said by hand, or by another program."""
    for said in (5, None, [], ["a"], ["a", "b"], ["a", [1]], [1, None], {"a": 1}):
        with pytest.raises(ValueError, match="expected"):
            understood(said)
    assert understood(["a", None]) == ("a", None)
    assert understood(["a", ["b", "c"]]) == ("a", ["b", "c"])


@given(st.dictionaries(st.text(max_size=50), st.text(max_size=3 * TOGETHER // 2), max_size=30))
def test_long_answers_are_said_in_pieces(lines: dict[str, str]) -> None:
    """All of it once, but for what no piece can have; none is too long."""
    said: dict[str, str] = {}
    for piece in pieces(lines):
        assert sum(len(each.encode()) + 4 for each in piece) <= TOGETHER + 8
        said |= dict(zip(piece[::2], piece[1::2], strict=True))
    assert said.items() <= lines.items()
    left_out = lines.keys() - said.keys()
    assert all(len((each + lines[each]).encode()) > TOGETHER for each in left_out)
