"""A result backend under a whole program: promises 28 and 43."""

from __future__ import annotations

from pathlib import Path

import trio
import trio.testing

from actorq.actors.result_backend import ResultBackend
from actorq.context import Context
from actorq.depends import Depends
from actorq.engines.memory.broker import InMemoryBroker
from actorq.errors import TaskFailed
from actorq.handle import TaskHandle
from actorq.progress import TaskProgress
from actorq.system import open_system
from actorq.testing.contracts.contract import new_folder, promised
from actorq.testing.contracts.real_time import run_in_real_time
from actorq.testing.contracts.result_run import KEPT, StoreContract
from actorq.testing.promises import broken


class OwnError(Exception):
    """Of a type that only the task's module knows."""


class ServesPrograms(StoreContract):
    """A part of `ResultBackendContract`."""

    @promised(28, 43, needs=KEPT)
    def test_a_program_gets_its_results_and_its_progress(self) -> None:
        """Through workers and handles; one error is of a type that is not known here."""

        async def main(folder: Path) -> None:
            await _program(self.make(folder))

        with new_folder() as folder:
            run_in_real_time(main, folder, limit=self.limit)


async def _program(backend: ResultBackend) -> None:
    broker = InMemoryBroker().with_result_backend(backend)
    go = trio.Event()

    @broker.task
    async def work(count: int, ctx: Context = Depends()) -> str:
        await go.wait()
        for n in range(1, count + 1):
            await ctx.set_progress(TaskProgress(n / count, "at it", n, count))
        return "done"

    @broker.task
    async def fail() -> None:
        raise OwnError("mine")

    async def read(handle: TaskHandle[str], into: list[int | None]) -> None:
        into += [each.current async for each in handle.progress()]

    early: list[int | None] = []
    late: list[int | None] = []
    async with open_system(broker) as system:
        handle = await system.enqueue(work, 20)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, handle, early)
            await trio.testing.wait_all_tasks_blocked()
            go.set()
            assert await handle.result() == "done"
        await read(handle, late)
        await read(system.handle(handle.task_id), late)
        if early != list(range(1, 21)) or late not in ([], 2 * early):
            raise broken(43, f"of 20 updates a reader saw {early}, and one who came late {late}")
        failed = await system.enqueue(fail)
        for _ in range(2):
            try:
                await failed.result()
            except TaskFailed as error:
                told = (error.type_name.rpartition(".")[2], error.message)
                if told != ("OwnError", "mine") or "raise OwnError" not in error.remote_traceback:
                    raise broken(28, f"OwnError('mine') was raised; {error!r} came back") from error
            else:
                raise broken(28, "OwnError('mine') was raised, and result() returned")
