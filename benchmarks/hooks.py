"""What middlewares cost: none of its hooks written, all of them, and the watchdog, beside no middleware.

CPU time, not the clock on the wall: what else runs on the machine would drown differences this small.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from time import process_time
from typing import Any

import trio

import actorq
from actorq import Context, Middleware, TaskMessage, TaskResult
from actorq.middlewares import Watchdog
from measure import Program, Report, Row, program_main
from throughput import noop


class Nothing(Middleware):
    """Implements no hook."""


class Around(Middleware):
    """The two that are plain functions by nature."""

    def around_send(self, messages: Sequence[TaskMessage]) -> AbstractContextManager[None]:
        return nullcontext()

    def around_execute(self, context: Context) -> AbstractContextManager[None]:
        return nullcontext()


class Plain(Around):
    """Implements every hook, as plain functions."""

    def pre_send(self, message: TaskMessage) -> TaskMessage:
        return message

    def post_send(self, message: TaskMessage) -> None: ...

    def pre_execute(self, message: TaskMessage) -> TaskMessage:
        return message

    def on_error(self, message: TaskMessage, result: TaskResult[Any], error: Exception) -> None: ...

    def on_retry(self, message: TaskMessage, error: Exception, delay: float) -> None: ...

    def on_dead(self, message: TaskMessage, result: TaskResult[Any], error: Exception) -> None: ...

    def on_cancelled(self, message: TaskMessage, result: TaskResult[Any]) -> None: ...

    def post_execute(self, message: TaskMessage, result: TaskResult[Any]) -> None: ...

    def post_save(self, message: TaskMessage, result: TaskResult[Any]) -> None: ...


class Async(Around):
    """The same as async functions."""

    async def pre_send(self, message: TaskMessage) -> TaskMessage:
        return message

    async def post_send(self, message: TaskMessage) -> None: ...

    async def pre_execute(self, message: TaskMessage) -> TaskMessage:
        return message

    async def on_error(
        self, message: TaskMessage, result: TaskResult[Any], error: Exception
    ) -> None: ...

    async def on_retry(self, message: TaskMessage, error: Exception, delay: float) -> None: ...

    async def on_dead(
        self, message: TaskMessage, result: TaskResult[Any], error: Exception
    ) -> None: ...

    async def on_cancelled(self, message: TaskMessage, result: TaskResult[Any]) -> None: ...

    async def post_execute(self, message: TaskMessage, result: TaskResult[Any]) -> None: ...

    async def post_save(self, message: TaskMessage, result: TaskResult[Any]) -> None: ...


async def _run(n: int, middlewares: tuple[Middleware, ...], *, bulk: bool) -> Report:
    results = actorq.InMemoryResultBackend(max_stored_results=-1)
    broker = actorq.InMemoryBroker().with_result_backend(results).with_middlewares(*middlewares)
    async with actorq.open_system(broker) as sys:
        await sys.enqueue_many(noop, [()] * (n // 10))
        await sys.wait_idle()
        began = process_time()
        if bulk:
            await sys.enqueue_many(noop, [()] * n)
        else:
            for _ in range(n):
                await sys.enqueue(noop)
        await sys.wait_idle()
        ended = process_time()
    assert len(results.table.results) == n + n // 10
    return {"cpu_seconds": ended - began}


CHAINS: dict[str, tuple[Middleware, ...]] = {
    "without": (),
    "nothing": (Nothing(),),
    "plain": (Plain(),),
    "async": (Async(),),
    "watchdog": (Watchdog(),),
}


def _program(chain: str, way: str) -> Program:
    return Program("hooks.py", f"{chain}_{way}", 30_000, 1_000)


def per_cpu_second(report: Report) -> float:
    return report["amount"] / report["cpu_seconds"]


def _row(name: str, work: str, chain: str, way: str, at_least: float = -math.inf) -> Row:
    return Row(
        name,
        work,
        _program(chain, way),
        per_cpu_second,
        "tasks per CPU second",
        "–" if at_least == -math.inf else f"≥ {at_least:g}×",
        "the same without a middleware",
        _program("without", way),
        at_least=at_least,
    )


ROWS = (
    _row("hooks-none", "bulk, with a middleware that has no hook", "nothing", "bulk", 0.97),
    _row("hooks-all", "bulk, with a middleware that has every hook", "plain", "bulk", 0.65),
    _row("hooks-async", "the same, all that can be `async def`", "async", "bulk", 0.65),
    _row("hooks-single", "single, with a middleware that has every hook", "plain", "single", 0.65),
    _row("watchdog", "bulk, under `Watchdog()`", "watchdog", "bulk"),
    _row("watchdog-single", "single, under `Watchdog()`", "watchdog", "single"),
)


if __name__ == "__main__":
    program_main(
        {
            f"{chain}_{way}": lambda n, chain=chain, way=way: trio.run(  # type: ignore[misc]
                lambda: _run(n, CHAINS[chain], bulk=way == "bulk")
            )
            for chain in CHAINS
            for way in ("bulk", "single")
        }
    )
