"""A program that stores results and says so, until it is killed."""

from __future__ import annotations

import sys

import trio

from actorq import SQLiteResultBackend, TaskResult
from actorq.testing.contracts.result_users import open_results


async def main(path: str) -> None:
    """One after the other."""
    async with open_results(SQLiteResultBackend(path)) as users:
        for n in range(1_000_000):
            assert await users.put(str(n), TaskResult(return_value=n)) is None
            print(n, flush=True)  # noqa: T201


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
