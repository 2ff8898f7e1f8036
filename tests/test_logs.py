"""Logging with the task's context: the filter, the structlog processor, and one line for each event."""

from __future__ import annotations

import logging
from typing import Any

import structlog
import trio
from hypothesis import given

import actorq
from actorq import InMemoryBroker
from actorq.middlewares import Logging, TaskContextFilter, add_task_context, task_context
from actorq.testing import Tape, simulate
from queue_strategies import tapes


class Keeps(logging.Handler):
    """Keeps records, completed by the filter."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.addFilter(TaskContextFilter())

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


class Logged:
    """A logger of its own with a handler that keeps."""

    def __init__(self, level: int = logging.DEBUG) -> None:
        self.handler = Keeps()
        self.logger = logging.Logger("test", level)
        self.logger.addHandler(self.handler)

    def said(self, *names: str) -> list[tuple[Any, ...]]:
        return [
            (each.getMessage(), *(getattr(each, name) for name in names))
            for each in self.handler.records
        ]


@given(tapes)
def test_every_record_inside_a_task_says_which_one(tape: Tape) -> None:
    """A19: of tasks that run at the same time, too; in child tasks, and not outside."""

    async def main() -> None:
        logged = Logged()

        @actorq.task(name="work", retries=1, queue="default")
        async def work(n: int) -> None:
            await trio.sleep(1)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(child, n)
            if not task_context()["attempt"] > 1:
                raise ValueError

        async def child(n: int) -> None:
            await trio.lowlevel.checkpoint()
            logged.logger.info("%d", n)

        async with actorq.open_system() as sys:
            handles = await sys.enqueue_many(work, [(n,) for n in range(5)])
            logged.logger.info("outside")
            for handle in handles:
                await handle.result()
        assert task_context() == {}
        ids = {str(n): handle.task_id for n, handle in enumerate(handles)}
        said = logged.said("task_id", "task_name", "attempt", "queue")
        assert ("outside", None, None, None, None) in said
        inside = sorted(each for each in said if each[0] != "outside")
        assert inside == sorted(
            (n, ids[n], "work", attempt, "default") for n in ids for attempt in (1, 2)
        )

    simulate(main, tape=tape)


async def test_threads_of_a_task_have_its_context() -> None:
    """A plain `def` task logs as itself."""
    logged = Logged()

    @actorq.task(name="plain")
    def plain() -> str:
        logged.logger.warning("from a thread")
        return str(task_context()["task_id"])

    async with actorq.open_system() as sys:
        handle = await sys.enqueue(plain)
        assert await handle.result() == handle.task_id
    assert logged.said("task_name", "task_id") == [("from a thread", "plain", handle.task_id)]


def test_what_a_record_says_itself_stays() -> None:
    """`extra=` wins over the context."""
    logged = Logged()

    @actorq.task(name="work")
    async def work() -> None:
        logged.logger.info("x", extra={"task_name": "mine"})

    async def main() -> None:
        async with actorq.open_system() as sys:
            await (await sys.enqueue(work)).result()

    simulate(main)
    assert logged.said("task_name") == [("x", "mine")]


def test_structlog_events_have_the_context() -> None:
    """By the processor; bound values stay, and nothing is added outside."""
    capture = structlog.testing.LogCapture()
    logger = structlog.wrap_logger(None, processors=[add_task_context, capture])

    @actorq.task(name="work")
    async def work() -> None:
        logger.info("inside", queue="mine")

    async def main() -> str:
        async with actorq.open_system() as sys:
            handle = await sys.enqueue(work)
            await handle.result()
            logger.info("outside")
            return handle.task_id

    task_id = simulate(main)
    assert capture.entries == [
        {
            "event": "inside",
            "queue": "mine",
            "task_id": task_id,
            "task_name": "work",
            "attempt": 1,
            "log_level": "info",
        },
        {"event": "outside", "log_level": "info"},
    ]


def run_one_of_each(logged: Logged, middleware: Logging) -> None:
    """A success, a failure with a retry, and a cancellation."""
    broker = InMemoryBroker().with_middlewares(middleware)

    @broker.task(name="add")
    async def add(a: int, b: int) -> int:
        await trio.sleep(0.5)
        return a + b

    @broker.task(name="fail", retries=1)
    async def fail() -> None:
        raise ValueError("no")

    @broker.task(name="hang")
    async def hang() -> None:
        await trio.sleep_forever()

    async def main() -> None:
        async with actorq.open_system(broker) as sys:
            await (await add.using(task_id="1").kiq(2, b=3)).result()
            await (await fail.using(task_id="2").kiq()).wait_result()
            handle = await hang.using(task_id="3").kiq()
            await trio.sleep(2)
            assert await handle.cancel()
            waits = await hang.using(task_id="4", delay=100).kiq()
            assert await waits.cancel()
            await sys.pause("default")
            await hang.using(task_id="5", expires=50).kiq()
            await trio.sleep(60)

    simulate(main)


def test_one_line_for_each_event() -> None:
    """At sensible levels, and without arguments and results."""
    logged = Logged()
    run_one_of_each(logged, Logging(logged.logger))
    said = [
        (text.split(" again in")[0], level, task_id, attempt)
        for text, level, task_id, attempt in logged.said("levelname", "task_id", "attempt")
    ]
    in_order = {task_id: [each for each in said if each[2] == task_id] for task_id in "12345"}
    assert sorted(in_order["1"]) == [
        ("add (1) enqueued", "DEBUG", "1", None),
        ("add (1) started", "DEBUG", "1", 1),
        ("add (1) succeeded in 0.500 s", "INFO", "1", 1),
    ]
    assert [each for each in in_order["2"] if each[1] != "DEBUG"] == [
        ("fail (2) failed;", "WARNING", "2", 1),
        (
            "fail (2) failed for good after 0.000 s, attempt 2: ValueError('no')",
            "ERROR",
            "2",
            2,
        ),
    ]
    assert in_order["3"][-1] == ("hang (3) cancelled after 2.000 s", "INFO", "3", 1)
    assert in_order["4"][-1] == ("hang (4) cancelled while it waited", "INFO", "4", None)
    assert in_order["5"][-1][0].startswith("hang (5) ended without a worker: TaskExpired(")
    assert {each.task_name for each in logged.handler.records} == {"add", "fail", "hang"}  # type: ignore[attr-defined]


def test_arguments_and_results_only_on_request() -> None:
    """They may be secrets."""
    logged = Logged()
    run_one_of_each(logged, Logging(logged.logger, arguments=True, results=True))
    texts = [text for (text,) in logged.said()]
    assert "add (1) enqueued with (2, b=3)" in texts
    assert "add (1) started with (2, b=3)" in texts
    assert "add (1) succeeded in 0.500 s: 5" in texts


def test_a_level_that_is_off_formats_nothing() -> None:
    """The repr of arguments is not made for nobody."""
    logged = Logged(logging.INFO)
    run_one_of_each(logged, Logging(logged.logger, arguments=True))
    assert {each.levelname for each in logged.handler.records} == {"INFO", "WARNING", "ERROR"}


def test_what_a_task_binds_for_structlog_is_its_own() -> None:
    """The next job in that slot starts with nothing bound."""
    capture = structlog.testing.LogCapture()
    processors: list[Any] = [structlog.contextvars.merge_contextvars, capture]
    logger = structlog.wrap_logger(None, processors=processors)

    @actorq.task(name="work")
    async def work(n: int) -> None:
        if n == 0:
            structlog.contextvars.bind_contextvars(order=7)
        logger.info("inside")

    async def main() -> None:
        async with actorq.open_system(concurrency=1) as sys:
            for n in range(2):
                await (await sys.enqueue(work, n)).result()

    simulate(main)
    assert [each.get("order") for each in capture.entries] == [7, None]
