"""The kernel on its own: an actor, its messages, and a type checker that knows the replies.

Run it: python examples/counter.py
"""

from __future__ import annotations

import attrs
import trio

import actorq


@attrs.frozen
class Add(actorq.Message[None]):  # a message names the type of its reply ...
    n: int


@attrs.frozen
class Get(actorq.Message[int]): ...


class Counter(actorq.Actor[Add | Get]):  # the kernel is usable on its own
    def __init__(self) -> None:
        self.n = 0

    async def receive(self, message: Add | Get) -> int | None:
        match message:
            case Add(n):
                self.n += n
                return None
            case Get():
                return self.n


async def main() -> None:
    async with actorq.open_system() as sys:
        counter = await sys.spawn(Counter, name="counter", restart=actorq.Restart.PERMANENT)
        await counter.tell(Add(2))
        assert await counter.ask(Get()) == 2  # ... so that a type checker knows this is an int
        print(counter)


if __name__ == "__main__":
    trio.run(main)
