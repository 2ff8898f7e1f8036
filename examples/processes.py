"""Work for a processor, in a process that can be killed.  Needs actorq[process]."""

import os
import signal

import trio

import actorq


@actorq.task(executor="process")
def primes(limit: int) -> int:
    sieve = bytearray([1]) * limit
    for number in range(2, int(limit**0.5) + 1):
        if sieve[number]:
            sieve[number * number :: number] = bytes(len(range(number * number, limit, number)))
    return sum(sieve) - 2


@actorq.task(executor="process")
def where() -> int:
    return os.getpid()


@actorq.task(executor="process")
def spin() -> None:
    while True:
        pass


@actorq.task(executor="process")
def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def main() -> None:
    async with actorq.open_system() as sys:
        print("runs elsewhere:", await (await sys.enqueue(where)).result() != os.getpid())

        handle = await sys.enqueue(primes, 1_000_000)
        print(await handle.result(), "primes")

        outcome = await (await sys.enqueue(spin.using(timeout=0.5))).wait_result()
        print(f"stopped after {outcome.execution_time:.1f} s:", type(outcome.error).__name__)

        try:
            await (await sys.enqueue(die)).result()
        except actorq.WorkerProcessDied as died:
            print(died)


if __name__ == "__main__":
    trio.run(main)
