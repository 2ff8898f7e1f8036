"""Captured logs: what an attempt logs comes back with its result, and nobody else's does."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

import actorq
from actorq import open_system
from actorq.captured_log import MAX_LOG, CapturedLog
from actorq.testing import Tape, schedules, simulate


log = logging.getLogger("capture.cart")


@pytest.fixture(autouse=True)
def _levels() -> Iterator[None]:
    log.setLevel(logging.DEBUG)
    yield
    log.setLevel(logging.NOTSET)
    assert not _is_installed(), "a handler was left at the root logger"


def _is_installed() -> bool:
    return any(type(one).__name__ == "_CapturingHandler" for one in logging.getLogger().handlers)


def _messages(text: str | None) -> list[str]:
    assert text is not None
    return re.findall(r"capture\.cart: (.*)", text)


async def _result(task: actorq.Task[..., Any], *args: Any) -> actorq.TaskResult[Any]:
    async with open_system() as sys:
        return await (await sys.enqueue(task, *args)).wait_result()


async def test_what_a_task_logs_comes_back() -> None:
    """With time, level, logger and traceback; what it returns is not touched."""

    @actorq.task(capture_logs=True)
    async def buy(n: int) -> int:
        log.debug("looking at %d teas", n)
        try:
            raise KeyError("tea")
        except KeyError:
            log.exception("no tea")
        return n

    outcome = await _result(buy, 3)
    assert outcome.return_value == 3
    assert outcome.log is not None
    first, *rest = outcome.log.splitlines()
    assert re.fullmatch(r"\d{4}-\S+ \S+ DEBUG capture\.cart: looking at 3 teas", first)
    assert rest[0].endswith("ERROR capture.cart: no tea")
    assert rest[1].startswith("Traceback")
    assert rest[-1] == "KeyError: 'tea'"


async def test_it_is_an_option() -> None:
    """Without it there is no text, and no handler; with it and nothing logged the text is empty."""

    @actorq.task
    async def silent() -> bool:
        log.info("not to be seen")
        return _is_installed()

    outcome = await _result(silent)
    assert (outcome.return_value, outcome.log) == (False, None)

    @actorq.task(capture_logs=True)
    async def nothing() -> bool:
        return _is_installed()

    outcome = await _result(nothing)
    assert (outcome.return_value, outcome.log) == (True, "")


async def test_levels_are_the_loggers() -> None:
    """What a logger does not let through is not captured."""

    @actorq.task(capture_logs=True)
    async def buy() -> None:
        log.setLevel(logging.WARNING)
        log.info("quiet")
        log.warning("loud")

    assert _messages((await _result(buy)).log) == ["loud"]


async def test_results_without_logs() -> None:
    """T54: `with_logs=False` leaves it out, waiting or not."""

    @actorq.task(capture_logs=True)
    async def buy() -> None:
        log.info("bought")

    async with open_system() as sys:
        handle = await sys.enqueue(buy)
        assert (await handle.wait_result(with_logs=False)).log is None
        assert (await handle.get_result(with_logs=False)).log is None
        assert _messages((await handle.get_result()).log) == ["bought"]
        assert _messages((await handle.wait_result()).log) == ["bought"]


async def test_child_tasks_and_threads_are_the_task_s() -> None:
    """However deep: whose a record is, its context says."""

    async def child() -> None:
        log.info("child")
        await trio.to_thread.run_sync(lambda: trio.from_thread.run_sync(log.info, "back again"))

    @actorq.task(capture_logs=True)
    async def buy() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
        await trio.to_thread.run_sync(log.info, "thread")

    assert _messages((await _result(buy)).log) == ["child", "back again", "thread"]

    @actorq.task(capture_logs=True)
    def sell() -> None:
        log.info("plain")

    assert _messages((await _result(sell)).log) == ["plain"]


@given(st.lists(st.lists(st.booleans(), max_size=4), min_size=2, max_size=6), schedules(120))
def test_logs_of_two_tasks_never_mix(programs: list[list[bool]], tape: Tape) -> None:
    """Each has its own, in its order, whatever runs beside it; those without the option have none."""

    async def main() -> None:
        @actorq.task
        async def work(name: int, steps: list[bool]) -> None:
            for number, in_child in enumerate(steps):
                if in_child:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(say, f"{name}/{number}")
                else:
                    await say(f"{name}/{number}")

        async def say(what: str) -> None:
            await trio.lowlevel.checkpoint()
            log.info(what)

        async with open_system(concurrency=3) as sys:
            handles = [
                await sys.enqueue(work.using(capture_logs=name % 3 != 2), name, steps)
                for name, steps in enumerate(programs)
            ]
            for name, handle in enumerate(handles):
                text = (await handle.wait_result()).log
                if name % 3 == 2:
                    assert text is None
                else:
                    expected = [f"{name}/{number}" for number in range(len(programs[name]))]
                    assert _messages(text) == expected

    simulate(main, tape=tape)


async def test_each_attempt_has_its_own(autojump_clock: trio.testing.MockClock) -> None:
    """The result has the last one's; a failure, a timeout and a cancellation have theirs."""

    logs: list[list[str]] = []

    class Seen(actorq.Middleware):
        def post_execute(self, message: actorq.TaskMessage, result: actorq.TaskResult[Any]) -> None:
            logs.append(_messages(result.log))

    @actorq.task(capture_logs=True, retries=1)
    async def buy(ctx: actorq.Context = actorq.Depends()) -> None:
        log.info("attempt %d", ctx.attempt)
        if ctx.attempt == 1:
            raise OSError("no luck")

    @actorq.task(capture_logs=True, timeout=5)
    async def wait() -> None:
        log.info("waiting")
        await trio.sleep(9)

    async with open_system(actorq.InMemoryBroker().with_middlewares(Seen())) as sys:
        outcome = await (await sys.enqueue(buy)).wait_result()
        assert _messages(outcome.log) == ["attempt 2"]
        assert logs == [["attempt 1"], ["attempt 2"]]
        outcome = await (await sys.enqueue(wait)).wait_result()
        assert isinstance(outcome.error, actorq.TaskTimeout)
        assert _messages(outcome.log) == ["waiting"]
        handle = await sys.enqueue(wait)
        await trio.sleep(1)
        assert await handle.cancel()
        assert _messages((await handle.wait_result()).log) == ["waiting"]


async def test_a_task_called_by_a_task_logs_for_its_caller() -> None:
    """And a system inside a task keeps its tasks' logs, while the outer task has them too."""

    @actorq.task(capture_logs=True)
    async def inner() -> None:
        log.info("inner")

    @actorq.task(capture_logs=True)
    async def outer() -> list[str]:
        log.info("outer")
        await inner()
        return _messages((await _result(inner)).log)

    outcome = await _result(outer)
    assert outcome.return_value == ["inner"]
    assert _messages(outcome.log) == ["outer", "inner", "inner"]


async def test_who_outlives_the_attempt_logs_elsewhere() -> None:
    """A thread that a task leaves behind keeps the context, and no text any more."""
    ended, stop = threading.Event(), threading.Event()

    @actorq.task(capture_logs=True)
    async def buy() -> None:
        def later() -> None:
            stop.wait(30)
            log.info("too late")
            ended.set()

        await trio.to_thread.run_sync(threading.Thread(target=later).start)

    outcome = await _result(buy)
    stop.set()
    await trio.to_thread.run_sync(ended.wait, 30)
    assert outcome.log == ""


# --- the text -----------------------------------------------------------------------------------


@given(st.lists(st.integers(0, MAX_LOG + 9), max_size=9))
def test_the_text_is_bounded(sizes: list[int]) -> None:
    """The last entries are kept, a note says how many are not, and one giant is cut."""
    captured = CapturedLog()
    with captured.capturing():
        for number, size in enumerate(sizes):
            captured.add(f"{number}".ljust(size, "x"))
    text = captured.text()
    assert len(text) <= MAX_LOG + 60
    lines = text.splitlines()
    dropped = 0
    if match := re.fullmatch(r"\.\.\. \((\d+) earlier entries were dropped\)", (lines or [""])[0]):
        dropped = int(match[1])
        lines = lines[1:]
    assert dropped + len(lines) == len(sizes)
    for line, (number, size) in zip(lines, list(enumerate(sizes))[dropped:], strict=True):
        if size <= MAX_LOG:
            assert line == f"{number}".ljust(size, "x")
        else:
            assert line.startswith("... x")
    if dropped:
        assert sum(len(line) + 1 for line in lines) + sizes[dropped - 1] + 1 > MAX_LOG


class Unspeakable:
    def __str__(self) -> str:
        log.info("asked for its name")
        raise ValueError("no name")


async def test_what_cannot_be_formatted_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """The task goes on: a wrong format, a `__str__` that raises and logs, half a character."""

    @actorq.task(capture_logs=True)
    async def buy() -> str:
        log.info("%d teas", "three")
        log.info("%s", Unspeakable())
        log.info("\ud800")
        return "bought"

    with _no_other_handlers():
        outcome = await _result(buy)
    assert outcome.return_value == "bought"
    assert outcome.log is not None
    wrong, asked, nameless, half = outcome.log.splitlines()
    assert re.search(
        r"INFO capture.cart: \(cannot be shown: TypeError, .*captured_log.py:\d+\)", wrong
    )
    assert asked.endswith("asked for its name")
    assert "ValueError" in nameless
    assert half.endswith("\\ud800")
    assert capsys.readouterr().err == ""


# --- good neighbours ----------------------------------------------------------------------------


@contextmanager
def _no_other_handlers() -> Iterator[None]:
    """As in a program that configures nothing: pytest has its own at the root."""
    root = logging.getLogger()
    saved, root.handlers = root.handlers, []
    try:
        yield
    finally:
        assert root.handlers == []
        root.handlers = saved


async def test_warnings_are_still_printed_where_nothing_is_configured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Python's handler of last resort falls silent when there is any other; ours stands in for it."""
    own = logging.getLogger("capture.own")

    @actorq.task(capture_logs=True)
    async def buy() -> None:
        log.warning("seen")
        log.info("not seen")
        own.addHandler(handler)
        own.warning("has a handler")
        own.removeHandler(handler)

    handler = logging.NullHandler()
    with _no_other_handlers():
        await _result(buy)
    assert capsys.readouterr().err == "seen\n"


async def test_other_handlers_see_what_they_always_see() -> None:
    """Formatted as they like: their text of a traceback is theirs."""
    texts: list[str] = []

    class Own(logging.Formatter):
        def formatException(self, ei: Any) -> str:  # noqa: N802
            return "theirs"

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            texts.append(self.format(record))

    handler = Handler()
    handler.setFormatter(Own("%(message)s"))

    @actorq.task(capture_logs=True)
    async def buy() -> None:
        try:
            raise KeyError
        except KeyError:
            log.exception("no tea")

    outcomes = []
    with _no_other_handlers():
        for early in (True, False):
            if early:
                logging.getLogger().addHandler(handler)
            outcomes.append(await _result(buy))
            if early:
                logging.getLogger().removeHandler(handler)
                log.addHandler(handler)
        log.removeHandler(handler)
    assert texts == ["no tea\ntheirs"] * 2
    for outcome in outcomes:
        assert outcome.log is not None
        assert outcome.log.endswith("KeyError")
