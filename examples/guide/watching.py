"""Watching an actor, stopping one, and dead letters."""

import attrs
import trio

import actorq


@attrs.frozen
class Work(actorq.Message[None]):
    item: str


class Worker(actorq.Actor[Work]):
    async def receive(self, message: Work) -> None:
        if message.item == "poison":
            raise RuntimeError("cannot digest this")
        self.stop()  # after this message; a transient actor then ends for good


class Foreman(actorq.Actor[Work]):
    def __init__(self, worker: actorq.ActorRef[Work]) -> None:
        self.worker = worker

    async def on_start(self) -> None:
        self.watch(self.worker)

    async def receive(self, message: Work) -> None:
        await self.worker.tell(message)

    async def signal(self, signal: actorq.Signal) -> None:
        if isinstance(signal, actorq.Terminated):
            print(f"the foreman hears: {signal.ref.name} has ended ({signal.reason})")


async def main() -> None:
    async with actorq.open_kernel() as kernel:
        worker = await kernel.spawn(Worker, name="worker", restart=actorq.Restart.TRANSIENT)
        foreman = await kernel.spawn(lambda: Foreman(worker), name="foreman")

        await foreman.tell(Work("poison"))  # a crash: restarted, and not handled again
        await foreman.tell(Work("apple"))  # handled by the next life, which stops
        await worker.stopped()
        await trio.sleep(0.1)

        for letter in kernel.dead_letters:
            print(letter.actor, letter.message, letter.reason.value)
        try:
            await worker.tell(Work("pear"))
        except actorq.ActorStopped as error:
            print(error)


if __name__ == "__main__":
    trio.run(main)
