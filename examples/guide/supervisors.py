"""Supervisors: who is restarted with whom, and when it is enough."""

import attrs
import trio

import actorq
from actorq import Backoff, Strategy


@attrs.frozen
class Ping(actorq.Message[str]):
    pass


@attrs.frozen
class Break(actorq.Message[None]):
    pass


class Part(actorq.Actor[Ping | Break]):
    async def receive(self, message: Ping | Break) -> str:
        if isinstance(message, Break):
            raise RuntimeError("broken on request")
        return "pong"


async def main() -> None:
    async with actorq.open_kernel() as kernel:
        line = await kernel.spawn_supervisor(
            "line",
            strategy=Strategy.REST_FOR_ONE,  # a crash takes those with it that started later
            intensity=2,  # at most two incidents ...
            period=60,  # ... in a minute
            backoff=Backoff(base=0.1, max=5),
        )
        source = await line.spawn(Part, name="source")
        sink = await line.spawn(Part, name="sink")

        await source.tell(Break())
        answer = await source.ask(Ping())  # waits in the mailbox for the next life
        print("source says", answer)
        answer = await sink.ask(Ping())
        print("sink says", answer)
        for ref in [source, sink]:
            print(ref.name, "restarts:", ref.statistics().restarts)


if __name__ == "__main__":
    trio.run(main)
