"""Tasks that failed for good: looked at, mended, replayed."""

import trio

import actorq


@actorq.task(name="charge")
async def charge(account: str, cents: int) -> str:
    if not account.isdigit():
        raise ValueError(f"no account: {account}")
    return f"{account} paid {cents / 100:.2f}"


async def main() -> None:
    async with actorq.open_system() as sys:
        for account in ("17", "4 2", "x"):
            await sys.enqueue(charge, account, 990)
        await sys.wait_idle()

        for letter in await sys.dead_tasks(task="charge"):
            print(letter.reason, letter.message.args, "attempts:", letter.attempts)

        letter, *_ = await sys.dead_tasks()
        print(letter.traceback.strip().splitlines()[-1])
        mended = await sys.replay(letter.task_id, args=["42", 990])
        outcome = await mended.wait_result()
        print(outcome.return_value, outcome.labels["replay_of"] == letter.task_id)

        (again,) = await sys.replay_all()  # as it is: it fails again
        print((await again.wait_result()).error)
        await sys.wait_idle()
        print(await sys.purge_dead(), "forgotten")


if __name__ == "__main__":
    trio.run(main)
