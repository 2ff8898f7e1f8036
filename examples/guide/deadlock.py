"""A circle of asks is an error, not a hang."""

import attrs
import trio

import actorq


@attrs.frozen
class Meet(actorq.Message[str]):
    other: actorq.ActorRef["Meet | Hello"]


@attrs.frozen
class Hello(actorq.Message[str]):
    asker: actorq.ActorRef["Meet | Hello"]


class Polite(actorq.Actor[Meet | Hello]):
    async def receive(self, message: Meet | Hello) -> str:
        match message:
            case Meet(other):
                return await other.ask(Hello(self.ref))
            case Hello(asker):
                try:
                    return await asker.ask(Hello(self.ref))  # asker waits for us
                except actorq.AskDeadlock as error:
                    return f"{' -> '.join(error.cycle)}"


async def main() -> None:
    async with actorq.open_kernel() as kernel:
        ann = await kernel.spawn(Polite, name="ann")
        ben = await kernel.spawn(Polite, name="ben")
        cycle = await ann.ask(Meet(ben))
        print(cycle)


if __name__ == "__main__":
    trio.run(main)
