"""Shutting down: what the body may still do, and in which order things end."""

import trio

import actorq


class Journal(actorq.Actor[str]):
    async def receive(self, message: str) -> None:
        print("journal:", message)

    async def on_stop(self) -> None:
        print("the journal is closed")


@actorq.task
async def save(page: int) -> None:
    await trio.sleep(1)
    print("page", page, "is saved")


async def main() -> None:
    with trio.move_on_after(2) as outer:
        async with actorq.open_system(grace=10) as sys:
            journal = await sys.spawn(Journal, name="journal")
            try:
                await sys.enqueue(save.using(delay=1.5), 7)
                await trio.sleep_forever()
            finally:
                # the body unwinds first: everything still answers
                with trio.move_on_after(1, shield=True):
                    await journal.tell("the body was cancelled")
    print("cancelled by the scope outside:", outer.cancelled_caught)


if __name__ == "__main__":
    trio.run(main)
