"""Step 5: retries and timeouts."""

import trio

import actorq


tries = 0


@actorq.task(retries=3)
async def upload(photo: str) -> str:
    global tries
    tries += 1
    if tries < 3:
        raise ConnectionError("the server is busy")
    return f"{photo} is up"


@actorq.task(timeout=0.2)
async def sharpen(photo: str) -> str:
    await trio.sleep(0.5)
    return photo


async def main() -> None:
    async with actorq.open_system() as sys:
        handle = await sys.enqueue(upload, "cat.jpg")
        outcome = await handle.wait_result()
        print(outcome.return_value, "- attempt", outcome.attempts)

        handle = await sys.enqueue(sharpen, "cat.jpg")
        try:
            await handle.result()
        except actorq.TaskTimeout as error:
            print(error)

        patient = sharpen.using(timeout=10)  # a copy; sharpen is as it was
        print(await (await sys.enqueue(patient, "dog.jpg")).result())


if __name__ == "__main__":
    trio.run(main)
