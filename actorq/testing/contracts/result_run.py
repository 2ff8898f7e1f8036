"""How a test of `ResultBackendContract` runs, and what all of them ask of a backend."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

from actorq.actors.result_backend import ResultBackend
from actorq.capability import Capability
from actorq.errors import ResultGetError
from actorq.result import TaskResult
from actorq.testing.contracts.contract import Contract, new_folder
from actorq.testing.contracts.real_time import run_in_real_time
from actorq.testing.contracts.result_users import ResultUsers, open_results
from actorq.testing.contracts.result_values import difference
from actorq.testing.promises import broken


Users: TypeAlias = ResultUsers
KEPT = frozenset({Capability.RESULTS})
SURVIVES = KEPT | {Capability.SURVIVAL}


async def must_find(users: Users, task_id: str, kept: TaskResult[Any], when: str = "") -> None:
    """Raise unless *kept* is stored; promise 28."""
    if not await users.is_ready(task_id):
        raise broken(28, f"the result of {task_id!r} is not there{when}")
    try:
        found = await users.get(task_id)
    except ResultGetError as error:
        raise broken(28, f"the result of {task_id!r} cannot be had{when}: {error}") from error
    wrong = difference(kept, found)
    if wrong is not None:
        raise broken(28, f"the result of {task_id!r} is another one{when}: {wrong}")


async def must_miss(users: Users, task_id: str, when: str) -> None:
    """Raise if a result of this task, or progress, is to be had; promise 28."""
    if await users.is_ready(task_id):
        raise broken(28, f"a result of {task_id!r} is there {when}")
    try:
        found = await users.get(task_id)
    except ResultGetError:
        return
    raise broken(28, f"{found!r} is there as the result of {task_id!r} {when}")


class StoreContract(Contract):
    """The ground of `ResultBackendContract` and its parts."""

    _kind = ResultBackend

    factory: Callable[..., ResultBackend]
    #: Seconds that a test may take; `Stuck` then says who waits for what.
    limit: float = 30.0

    @classmethod
    def lacks(cls) -> frozenset[Capability]:
        """What the backend declares, and what follows from `keeps_results`."""
        with new_folder() as folder:
            backend = cls.make(folder)
        lacks: frozenset[Capability] = frozenset(backend.lacks)
        return lacks if backend.keeps_results else lacks | {Capability.RESULTS}

    def run(self, test: Callable[[Users], Awaitable[None]]) -> None:
        """Run *test* with users of a new backend."""

        async def main(folder: Path) -> None:
            async with open_results(self.make(folder)) as users:
                await test(users)

        with new_folder() as folder:
            run_in_real_time(main, folder, limit=self.limit)
