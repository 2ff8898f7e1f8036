"""Deferred replies, timers and child tasks."""

from collections import deque

import attrs
import trio

import actorq


@attrs.frozen
class Enter(actorq.Message[str]):
    name: str


@attrs.frozen
class Open(actorq.Message[None]):
    pass


class Turnstile(actorq.Actor[Enter | Open]):
    """Lets one in every second."""

    async def on_start(self) -> None:
        self.waiting: deque[tuple[Enter, actorq.Reply[str]]] = deque()
        self.set_timer("open", 1.0, Open(), repeat=True)

    async def receive(self, message: Enter | Open) -> None:
        match message:
            case Enter():
                self.waiting.append((message, self.defer()))  # the answer comes later
            case Open():
                if self.waiting:
                    enter, reply = self.waiting.popleft()
                    self.start_soon(self.walk, enter.name, reply)

    async def walk(self, name: str, reply: actorq.Reply[str]) -> None:
        await trio.sleep(0.5)  # in a child task: the actor goes on meanwhile
        reply.send(f"{name} is in at {trio.current_time():.1f}")


async def main() -> None:
    async with actorq.open_kernel() as kernel, trio.open_nursery() as nursery:
        turnstile = await kernel.spawn(Turnstile)

        async def visit(name: str) -> None:
            answer = await turnstile.ask(Enter(name))
            print(answer)

        for name in ["Ann", "Ben"]:
            nursery.start_soon(visit, name)


if __name__ == "__main__":
    trio.run(main)
