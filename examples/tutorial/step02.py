"""Step 2: results."""

import trio

import actorq


@actorq.task
async def resize(photo: str, width: int) -> str:
    await trio.sleep(0.1)
    return f"{photo}@{width}"


async def main() -> None:
    async with actorq.open_system() as sys:
        handle = await sys.enqueue(resize, "cat.jpg", 640)
        print(await handle.result())

        outcome = await handle.wait_result()
        print(outcome.is_err, outcome.attempts, f"{outcome.execution_time:.1f} s")

        with trio.move_on_after(0.05):
            slow = await sys.enqueue(resize, "dog.jpg", 640)
            await slow.result()
        print("not yet:", await slow.is_ready())


if __name__ == "__main__":
    trio.run(main)
