"""Task ids: what they are made of, their order, and generators that return no ids."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import actorq
from actorq import ids
from actorq.errors import DuplicateTaskId
from actorq.ids import CheckedIds, uuid4, uuid7
from actorq.testing import simulate


@actorq.task
async def noop(n: int = 0) -> int:
    """Does nothing."""
    return n


def test_ids_are_uuids_of_version_7_and_each_is_greater_than_the_one_before() -> None:
    """RFC 9562: time first, version and variant where they belong."""
    before = time.time_ns() // 1_000_000
    made = [uuid7() for _ in range(10_000)]
    after = time.time_ns() // 1_000_000
    assert all(left < right for left, right in itertools.pairwise(made))
    for each in made[::100]:
        parsed = uuid.UUID(hex=each)
        assert parsed.hex == each
        assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
        # a clock that is bumped within its 4096th of a millisecond may run ahead a little
        assert before <= parsed.int >> 80 <= after + 1


@pytest.fixture
def still_clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Sets the clock that ids are made from."""

    def set_to(nanoseconds: int) -> None:
        monkeypatch.setattr(time, "time_ns", lambda: nanoseconds)

    latest = ids._latest
    yield set_to
    ids._latest = latest


def test_ids_go_on_when_the_clock_stands_or_goes_back(
    still_clock: Callable[[int], None],
) -> None:
    """As after a leap, or a machine that was set."""
    late = time.time_ns() + 10**12
    still_clock(late)
    made = [uuid7() for _ in range(5000)]
    still_clock(late - 10**11)
    made += [uuid7() for _ in range(5000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_random_ids_are_uuids_of_version_4() -> None:
    """They tell nothing."""
    made = {uuid4() for _ in range(1000)}
    assert len(made) == 1000
    for each in made:
        parsed = uuid.UUID(hex=each)
        assert parsed.hex == each
        assert (parsed.version, parsed.variant) == (4, uuid.RFC_4122)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_forked_child_makes_ids_of_its_own() -> None:
    """It does not go on with its parent's random numbers."""
    program = """
import os
from actorq import uuid7
child = os.fork()
if child:
    os.waitpid(child, 0)  # else the two lines may mix
print(uuid7()[17:], flush=True)
"""
    # a process of its own: this one may have threads, with which forking is no good
    ran = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert len(set(ran.stdout.split())) == 2


async def test_a_generator_of_your_own_makes_the_ids() -> None:
    """For one call and for many."""
    numbers = iter(range(10))
    broker = actorq.InMemoryBroker().with_id_generator(lambda: f"job-{next(numbers)}")
    async with actorq.open_system(broker) as sys:
        one = await sys.enqueue(noop)
        many = await sys.enqueue_many(noop, [(), ()])
    assert [one.task_id, *(each.task_id for each in many)] == ["job-0", "job-1", "job-2"]


async def a_coroutine() -> str:
    """No generator of ids: it would have to be awaited."""
    return "id"


@pytest.mark.parametrize(
    ("made", "error", "text"),
    [
        (lambda: None, TypeError, "must return a new str at each call; it returned None"),
        (lambda: 5, TypeError, "it returned 5"),
        (lambda: uuid.UUID(int=0), TypeError, "it returned UUID("),
        (a_coroutine, TypeError, "a_coroutine must be a plain `def`"),
        (lambda: "", ValueError, "must return 1 to 255 characters"),
        (lambda: "x" * 256, ValueError, "must return 1 to 255 characters"),
        (lambda: "\ud800", ValueError, "that UTF-8 can write"),
    ],
)
async def test_a_generator_that_returns_no_id_is_found_out_at_the_call(
    made: Callable[[], Any], error: type[Exception], text: str
) -> None:
    """Its name is in the error, and nothing was enqueued."""
    broker = actorq.InMemoryBroker().with_id_generator(made)
    async with actorq.open_system(broker) as sys:
        with pytest.raises(error, match="the id generator") as caught:
            await sys.enqueue(noop)
        assert text in str(caught.value)
        assert (await sys.queue_statistics()).ready == 0


async def test_a_generator_that_repeats_itself_is_found_out() -> None:
    """Or the second task would silently be the first one, sent again."""
    broker = actorq.InMemoryBroker().with_id_generator(lambda: "same")
    async with actorq.open_system(broker) as sys:
        handle = await sys.enqueue(noop)
        with pytest.raises(DuplicateTaskId, match=r"returned 'same' twice.*as actorq\.uuid7 does"):
            await sys.enqueue(noop)
        assert await handle.result() == 0


def test_only_the_latest_ids_are_remembered() -> None:
    """So that a system that runs for years does not grow."""
    numbers = iter([*map(str, range(ids.REMEMBERED + 1)), "0", "5"])
    checked = CheckedIds(lambda: next(numbers))
    for _ in range(ids.REMEMBERED + 2):
        checked()
    with pytest.raises(DuplicateTaskId):
        checked()


def test_something_that_cannot_be_called_is_refused_when_it_is_said() -> None:
    """Not at the first task."""
    with pytest.raises(TypeError, match=r"such as actorq\.uuid4"):
        actorq.InMemoryBroker().with_id_generator("uuid4")  # type: ignore[arg-type]


def test_ids_in_a_simulation_are_the_same_in_every_run() -> None:
    """Whatever the real clock says."""

    async def main() -> str:
        async with actorq.open_system() as sys:
            return (await sys.enqueue(noop)).task_id

    assert simulate(main) == simulate(main)
