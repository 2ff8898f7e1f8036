"""`assert_idempotent`: tasks that are known not to be are found out, and the others are let be."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

import actorq
from actorq import Context, Depends, InMemoryBroker, Middleware
from actorq.message import TaskMessage
from actorq.testing import NotIdempotent, Tape, assert_idempotent
from actorq.testing.tally import TALLY


ROOT = Path(__file__).parent.parent
INJECTED: Any = Depends()


@attrs.define
class Outside:
    """What others have got from us."""

    got: list[str] = attrs.field(factory=list)
    notes: dict[str, Any] = attrs.field(factory=dict)


def got(outside: Outside) -> list[str]:
    """The effect."""
    return outside.got


@actorq.task
async def says_it(word: str, outside: Outside = INJECTED) -> None:
    """Twice, if it is run twice."""
    outside.got.append(word)
    await trio.sleep(1)


@actorq.task
async def says_it_once(word: str, outside: Outside = INJECTED) -> None:
    """Looks first."""
    if word not in outside.got:
        outside.got.append(word)
    await trio.sleep(1)


@actorq.task
async def notes_it_too_soon(word: str, outside: Outside = INJECTED) -> None:
    """Takes what it is about to do for done."""
    if word not in outside.notes:
        outside.notes[word] = True
        await trio.sleep(1)
        outside.got.append(word)


@actorq.task
async def looks_and_waits(word: str, outside: Outside = INJECTED) -> None:
    """Fit for crashes; another worker comes in between."""
    if word not in outside.got:
        await trio.sleep(40)
        outside.got.append(word)


@actorq.task(ack="when_received")
async def says_it_at_most_once(word: str, outside: Outside = INJECTED) -> None:
    """A crash loses it."""
    await trio.sleep(1)
    outside.got.append(word)


@pytest.mark.parametrize(
    ("task", "says"),
    [
        (says_it, "a crash made its effect happen twice"),
        (notes_it_too_soon, "a crash took away a part of its effect"),
        (says_it_at_most_once, "With the default, ack='when_saved'"),
    ],
)
def test_what_a_crash_changes_is_found(task: actorq.Task[..., Any], says: str) -> None:
    """With what is to be done about it."""
    with pytest.raises(NotIdempotent) as caught:
        assert_idempotent(task, "hello", observe=got, world=Outside)
    story = caught.value.story
    assert says in story
    assert "process 1 was killed after" in story
    assert f"only={caught.value.only[0]})" in story
    with pytest.raises(NotIdempotent):
        assert_idempotent(
            task, "hello", observe=got, world=Outside, stalls=False, only=caught.value.only
        )


def test_what_can_be_repeated_passes() -> None:
    """And every point between claim and settlement was tried, by a crash and by a stall."""
    TALLY.take()
    report = assert_idempotent(says_it_once, "hello", observe=got, world=Outside, pairs=5)
    assert report.points > 20
    assert report.pairs == 10
    assert TALLY.take().crash_points >= report.points + 2 * report.pairs
    again = assert_idempotent(says_it_once, "hello", observe=got, world=Outside, pairs=5)
    assert again == report


def test_a_worker_that_stood_still_and_goes_on_is_tried_too() -> None:
    """Which no crash would show: the first run has looked, the second one acts, the first one too."""
    options: dict[str, Any] = {"observe": got, "world": Outside, "pairs": 40}
    assert_idempotent(looks_and_waits, "hello", stalls=False, **options)
    with pytest.raises(NotIdempotent, match="a worker that stood still made its effect") as caught:
        assert_idempotent(looks_and_waits, "hello", **options)
    assert "was stopped after" in caught.value.story
    assert "stalls=True" in caught.value.story


def test_other_schedules_are_tried_if_somebody_asks() -> None:
    """Each exhaustively."""
    tapes = [Tape(), Tape.of_seed(1), Tape.of_seed(2)]
    report = assert_idempotent(
        says_it_once, "hello", observe=got, world=Outside, tapes=tapes, pairs=0, stalls=False
    )
    assert report.schedules == 3


def test_what_failed_under_a_schedule_is_run_again_under_it() -> None:
    """By the call that the story ends with."""
    options: dict[str, Any] = {"observe": got, "world": Outside, "tape": Tape.of_seed(1)}
    with pytest.raises(NotIdempotent) as caught:
        assert_idempotent(says_it, "hello", **options)
    assert "tape=Tape.of_seed(1), stalls=False, only=" in caught.value.story
    with pytest.raises(NotIdempotent) as again:
        assert_idempotent(says_it, "hello", **options, stalls=False, only=caught.value.only)
    assert again.value.story == caught.value.story


def test_fakes_at_the_top_of_a_module_are_emptied_by_setup() -> None:
    """Then there is no world, and nothing is injected."""
    sent: list[str] = []

    @actorq.task
    async def send(word: str, *, loud: bool = False) -> None:
        if not sent:
            sent.append(word.upper() if loud else word)
        await trio.sleep(1)

    assert_idempotent(
        send, "hello", kwargs={"loud": True}, observe=lambda: sent, setup=sent.clear, pairs=2
    )
    assert sent == ["HELLO"]


def test_dependencies_and_middlewares_come_with_the_broker() -> None:
    """Of the task's own broker, or of one that is made for each process."""

    class Shouts(Middleware):
        async def pre_execute(self, message: TaskMessage) -> TaskMessage:
            return attrs.evolve(message, args=(f"{message.args[0]}!",))

    def get_name() -> str:
        return "nobody"

    async def greet(word: str, outside: Outside = INJECTED, name: Any = Depends(get_name)) -> None:
        outside.notes["greeting"] = f"{word} {name}"
        await trio.sleep(1)

    task = actorq.task(greet)

    def broker(outside: Outside) -> InMemoryBroker:
        made = InMemoryBroker().with_middlewares(Shouts())
        made.dependency_overrides[get_name] = lambda: "you"
        made.dependency_overrides[Outside] = lambda: outside
        return made

    def notes(outside: Outside) -> dict[str, Any]:
        assert outside.notes == {"greeting": "hello! you"}
        return outside.notes

    assert_idempotent(task, "hello", observe=notes, world=Outside, broker=broker, pairs=2)

    own = InMemoryBroker().with_middlewares(Shouts())
    own.dependency_overrides[get_name] = lambda: "you"
    assert_idempotent(own.task(greet), "hello", observe=notes, world=Outside, pairs=2)
    assert Outside not in own.dependency_overrides


def test_retries_are_no_crashes() -> None:
    """A task that fails at first is run again in the undisturbed run as well."""

    @actorq.task(retries=2)
    async def flaky(outside: Outside = INJECTED, ctx: Context = INJECTED) -> None:
        await trio.sleep(1)
        if ctx.attempt == 1:
            raise ValueError("not yet")
        outside.notes["done"] = True

    assert_idempotent(flaky, observe=lambda outside: outside.notes, world=Outside, pairs=2)


def test_a_task_that_fails_without_a_crash_is_told_so() -> None:
    """There is no effect to compare."""

    @actorq.task
    async def fails() -> None:
        await trio.sleep(1)
        raise ValueError("of its own")

    with pytest.raises(NotIdempotent, match="does not work even without") as caught:
        assert_idempotent(fails, observe=list)
    assert "ValueError: of its own" in caught.value.story


@pytest.mark.parametrize(
    ("given", "options", "says"),
    [
        (got, {"observe": got}, "expects a task made with @actorq.task"),
        (says_it, {"observe": "got"}, "observe expects a function"),
        (says_it, {"observe": got, "world": Outside()}, "world expects a function"),
        (says_it, {"observe": got, "pairs": -1}, "pairs expects"),
        (says_it, {"observe": got, "pairs": True}, "500, 0 for none"),
        (says_it, {"observe": got, "only": 0}, "only= expects"),
        (says_it, {"observe": got, "tape": 1}, "expects a Tape"),
    ],
)
def test_a_wrong_argument_is_told(given: Any, options: dict[str, Any], says: str) -> None:
    """What was expected, and what to write instead."""
    with pytest.raises((TypeError, ValueError), match=says):
        assert_idempotent(given, "hello", **options)


def test_the_story_in_the_documents_is_the_one_that_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Word for word, but for the numbers of the points."""
    monkeypatch.chdir(ROOT)
    path = ROOT / "examples" / "guide" / "test_charge_then_email.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    show: Callable[[], None] = module.show
    with pytest.raises(NotIdempotent) as caught:
        show()
    page = (ROOT / "docs" / "crash-safety.md").read_text(encoding="utf-8")
    # how many steps the engine takes is its own affair
    numbers = re.compile(r"(?<=crash point )\d+ of \d+|(?<=only=)\d+")
    assert numbers.sub("N", f"```text\n{caught.value.story}\n```\n") in numbers.sub("N", page)
    assert len(caught.value.story.splitlines()) < 45  # a screenful
