"""Rows 3 and 4: enqueue to `result()`; one ask, and the hand-written reply that is its floor."""

from __future__ import annotations

from time import perf_counter

import attrs
import trio

import actorq
from actorq.kernel import open_kernel
from measure import Program, Report, Row, program_main
from throughput import microseconds, noop


@attrs.frozen
class Ping(actorq.Message[int]):
    """Answered with its number."""

    n: int


class Echo(actorq.Actor[Ping]):
    """Answers at once."""

    async def receive(self, message: Ping) -> int:
        return message.n


async def _result(n: int) -> Report:
    async with actorq.open_system() as sys:

        async def round_trips(count: int) -> None:
            for _ in range(count):
                handle = await sys.enqueue(noop)
                await handle.result()

        await round_trips(n // 10)
        began = perf_counter()
        await round_trips(n)
        return {"seconds": perf_counter() - began}


async def _asks(n: int, each: int) -> Report:
    async with open_kernel() as kernel:
        echo = await kernel.spawn(Echo)

        async def round_trips(count: int) -> None:
            for i in range(count * each):
                await echo.ask(Ping(i))

        await round_trips(n // 10)
        began = perf_counter()
        await round_trips(n)
        return {"seconds": perf_counter() - began}


class Box:
    """A hand-written reply."""

    __slots__ = ("event", "value")

    def __init__(self) -> None:
        self.event = trio.Event()
        self.value = 0


async def _by_hand(n: int, *, nowait: bool) -> Report:
    send, receive = trio.open_memory_channel[tuple[Ping, Box]](1000)

    async def serve() -> None:
        async for ping, box in receive:
            box.value = ping.n
            box.event.set()

    async def round_trips(count: int) -> None:
        for i in range(count):
            box = Box()
            if nowait:
                send.send_nowait((Ping(i), box))
            else:
                await send.send((Ping(i), box))
            await box.event.wait()
            assert box.value == i

    async with trio.open_nursery() as nursery, send:
        nursery.start_soon(serve)
        await round_trips(n // 10)
        began = perf_counter()
        await round_trips(n)
        seconds = perf_counter() - began
    return {"seconds": seconds}


RESULT = Program("roundtrip.py", "actorq_result", 10_000, 300)
TWO_ASKS = Program("roundtrip.py", "two_asks", 10_000, 300)
ASK = Program("roundtrip.py", "one_ask", 30_000, 500)
BY_HAND = Program("roundtrip.py", "by_hand", 30_000, 500)
BY_HAND_AWAITED = Program("roundtrip.py", "by_hand_awaited", 30_000, 500)

ROUND_TRIP_ROWS = (
    Row(
        "round-trip",
        "`enqueue` then `result()`, one task after the other",
        RESULT,
        microseconds,
        "µs",
        "≤ 2.5×",
        "two asks of an actor on the bare kernel, one after the other",
        TWO_ASKS,
        at_most=2.5,
    ),
)
ASK_ROWS = (
    Row(
        "ask",
        "one ask of an actor",
        ASK,
        microseconds,
        "µs",
        "≤ 1.2×",
        "by hand: `send_nowait` to an `async for` over a channel, `trio.Event` as reply",
        BY_HAND,
        at_most=1.2,
    ),
    Row(
        "ask-awaited",
        "one ask of an actor",
        ASK,
        microseconds,
        "µs",
        "–",
        "the same by hand, with an awaited `send`",
        BY_HAND_AWAITED,
    ),
)


if __name__ == "__main__":
    program_main(
        {
            "actorq_result": lambda n: trio.run(_result, n),
            "two_asks": lambda n: trio.run(_asks, n, 2),
            "one_ask": lambda n: trio.run(_asks, n, 1),
            "by_hand": lambda n: trio.run(lambda: _by_hand(n, nowait=True)),
            "by_hand_awaited": lambda n: trio.run(lambda: _by_hand(n, nowait=False)),
        }
    )
