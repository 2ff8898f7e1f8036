"""Programs that tests/test_file_broker.py starts and kills: a system on `FileBroker` in a folder.

`hangs FOLDER`: runs until it is killed.  `writes FOLDER`: forks a process for each write to the file,
which kills itself there, and another that goes on in its folder; prints what became of each as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import trio


sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import actorq
from file_broker import FileBroker
from file_result_backend import FileResultBackend


def broker_in(folder: Path) -> FileBroker:
    """As a user would make it."""
    return FileBroker(folder).with_result_backend(FileResultBackend(folder / "results"))


def say(*words: object) -> None:
    """To whoever started this."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def hangs(folder: Path) -> None:
    """Two slots: t0 ends, t1 and t2 begin and never end, t3 and t4 wait."""

    @actorq.task(name="work")
    async def work(n: int) -> int:
        say("begins", n)
        return n if n == 0 else await trio.sleep_forever()

    async with actorq.open_system(broker_in(folder), concurrency=2) as sys_:
        for n in range(5):
            handle = await sys_.enqueue(work.using(task_id=f"t{n}"), n)
            if n == 0:
                say("ended", await handle.result())
        say("accepted", 5)
        await trio.sleep_forever()


async def works(folder: Path) -> None:
    """Three tasks; says what was accepted, and what ended."""

    @actorq.task(name="work")
    async def work(n: int, ctx: actorq.Context = actorq.Depends()) -> int:
        if ctx.attempt == 1 and n == 1:
            await ctx.requeue()
        return n

    async with actorq.open_system(broker_in(folder)) as sys_:
        for n in range(3):
            await sys_.enqueue(work.using(task_id=f"t{n}"), n)
            say("accepted", f"t{n}")
        for n in range(3):
            say("ended", f"t{n}", await sys_.handle(f"t{n}", work).result())


async def goes_on(folder: Path) -> None:
    """Enqueue nothing; say what has ended once nothing is left to do."""

    @actorq.task(name="work")
    async def work(n: int) -> int:
        return n

    async with actorq.open_system(broker_in(folder), tasks=[work]) as sys_:
        await sys_.wait_idle()
        for n in range(3):
            handle = sys_.handle(f"t{n}", work)
            if await handle.is_ready():
                say("ended", f"t{n}", await handle.result())


def forked(program: Callable[[], None]) -> tuple[list[str], int]:
    """What it says, and how it ends."""
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(writes, 1)
        try:
            program()
        finally:
            os._exit(1)
    os.close(writes)
    with open(reads) as said:
        lines = said.read().splitlines()
    return lines, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def dies_at(write: int, *, renamed: bool, folder: Path) -> None:
    """Work, and die in that write: before the new file has taken the old one's place, or after."""
    count = 0
    replace = Path.replace

    def dying(path: Path, target: Path) -> Path:
        nonlocal count
        count += path.name == "queue.new"
        if count == write and not renamed:
            os.kill(os.getpid(), signal.SIGKILL)
        done = replace(path, target)
        if count == write:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    Path.replace = dying  # type: ignore[method-assign,assignment]
    trio.run(works, folder)
    os._exit(0)


def survives(folder: Path) -> None:
    """Go on."""
    trio.run(goes_on, folder)
    os._exit(0)


def writes(folder: Path) -> Iterator[dict[str, object]]:
    """One death for each write, until there is none any more."""
    write, code = 0, -signal.SIGKILL
    while code == -signal.SIGKILL:
        write += 1
        own = folder / str(write)
        said, code = forked(lambda: dies_at(write, renamed=write % 2 == 0, folder=own))  # noqa: B023
        then, end = forked(lambda: survives(own))  # noqa: B023
        yield {"said": said, "code": code, "then": then, "end": end}


if __name__ == "__main__":
    where = Path(sys.argv[2])
    if sys.argv[1] == "hangs":
        trio.run(hangs, where)
    else:
        sys.stdout.write(json.dumps(list(writes(where))))
