"""An actor, and the kernel without a queue."""

import attrs
import trio

import actorq


@attrs.frozen
class Add(actorq.Message[None]):
    n: int


@attrs.frozen
class Get(actorq.Message[int]):
    pass


class Counter(actorq.Actor[Add | Get]):
    def __init__(self, start: int = 0) -> None:
        self.n = start

    async def receive(self, message: Add | Get) -> int | None:
        match message:
            case Add(n):
                self.n += n
                return None
            case Get():
                return self.n


async def main() -> None:
    async with actorq.open_kernel() as kernel:
        counter = await kernel.spawn(Counter, name="counter")
        await counter.tell(Add(2))
        n = await counter.ask(Get())  # a type checker knows that this is an int
        print(n)

        hundreds = await kernel.spawn(lambda: Counter(100), name="hundreds")
        await hundreds.tell(Add(1))
        print(await hundreds.ask(Get()) + n)


if __name__ == "__main__":
    trio.run(main)
