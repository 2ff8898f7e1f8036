"""Named queues, limits, unique calls, expiry."""

import trio

import actorq
from actorq import Concurrency, Rate, Unique


@actorq.task(queue="mail", rate="2/s", expires=3600)
async def send_mail(to: str) -> None:
    print(f"{trio.current_time():.1f} mail to {to}")


@actorq.task(queue="reports", concurrency=[Concurrency(2), Concurrency(1, key="{customer}")])
async def report(customer: str, month: int) -> str:
    await trio.sleep(1)
    return f"{customer}/{month}"


@actorq.task(unique=Unique(key="{user}", on_conflict="return"))
async def export(user: str, fmt: str = "csv") -> str:
    await trio.sleep(1)
    return f"{user}.{fmt}"


@actorq.task(delay=5, unique=Unique(key="{document}", on_conflict="debounce"))
async def reindex(document: str, text: str) -> str:
    return f"{trio.current_time():.0f}: {document} says {text}"


@actorq.task(rate=Rate(100, 60, per="queue", smooth=False))
async def call_partner(order: int) -> None: ...


async def main() -> None:
    async with actorq.open_system(queues={"mail": 2, "reports": 1, "default": 1}) as sys:
        await sys.enqueue_many(send_mail, [("ann",), ("bob",), ("cy",)])
        await sys.wait_idle()

        await sys.enqueue_many(report, [("acme", 1), ("acme", 2), ("bolt", 1), ("bolt", 2)])
        await trio.sleep(0.5)
        counts = await sys.queue_statistics()
        print(counts.leased, "run,", counts.limited, "wait for a limit")
        await sys.wait_idle()

        first = await sys.enqueue(export, "ann")
        second = await sys.enqueue(export, "ann", fmt="pdf")  # ann has one already
        print(first.task_id == second.task_id, await second.result())

        for text in ("a", "ab", "abc"):
            handle = await sys.enqueue(reindex, "notes", text)
            await trio.sleep(1)
        print(await handle.result())

        await sys.pause("mail")
        await sys.enqueue(send_mail, "dan")
        print(await sys.purge("mail"), "was purged")


if __name__ == "__main__":
    trio.run(main)
