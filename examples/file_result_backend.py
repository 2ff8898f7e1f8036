"""A result backend of your own: one JSON file per result, and one for its progress.

A result backend is an actor. Subclass `ResultBackend` and say where things are kept; waiting,
waking, progress streams and the refusal of stale results come with it.

Run it: python examples/file_result_backend.py [folder]
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from sys import argv
from typing import Any

import attrs
import trio

import actorq
from actorq import ResultGetError, TaskProgress, TaskResult


class FileResultBackend(actorq.ResultBackend):
    """Keeps each result as a JSON file in a folder, so that it outlives the process.

    A reader sees a file as it was or as it is, never half of it. What was stored survives the end
    of the process; if it must survive a loss of power, add `os.fsync` before `os.replace`.
    """

    #: Other processes may read the files, but who waits there hears nothing of what is stored here.
    lacks = frozenset({actorq.Capability.SHARING})

    def __init__(self, storage_dir: str | os.PathLike[str]) -> None:
        self.storage_dir = Path(storage_dir)

    async def startup(self) -> None:
        await trio.Path(self.storage_dir).mkdir(parents=True, exist_ok=True)

    async def shutdown(self) -> None:
        """Nothing is left open between two messages."""

    async def set_result(self, task_id: str, result: TaskResult[Any]) -> None:
        path = self._path(task_id, "result")
        await trio.to_thread.run_sync(_write, path, result.to_dict())

    async def get_result(self, task_id: str, with_logs: bool = True) -> TaskResult[Any]:
        path = self._path(task_id, "result")
        data = await trio.to_thread.run_sync(_read, path)
        if data is None:
            raise ResultGetError(f"there is no result of task {task_id!r} in {self.storage_dir}")
        try:
            result = TaskResult.from_dict(data)
        except actorq.EnvelopeError as error:
            raise _damaged(path, error) from error
        return result if with_logs else attrs.evolve(result, log=None)

    async def is_result_ready(self, task_id: str) -> bool:
        return await trio.Path(self._path(task_id, "result")).is_file()

    async def delete_result(self, task_id: str) -> None:
        for kind in ("result", "progress"):
            await trio.Path(self._path(task_id, kind)).unlink(missing_ok=True)

    async def set_progress(self, task_id: str, progress: TaskProgress) -> None:
        path = self._path(task_id, "progress")
        await trio.to_thread.run_sync(_write, path, progress.to_dict())

    async def get_progress(self, task_id: str) -> TaskProgress | None:
        path = self._path(task_id, "progress")
        data = await trio.to_thread.run_sync(_read, path)
        try:
            return None if data is None else TaskProgress.from_dict(data)
        except actorq.EnvelopeError as error:
            raise _damaged(path, error) from error

    def _path(self, task_id: str, kind: str) -> Path:
        """A safe name: ids may hold slashes, dots, anything, and some file systems ignore case."""
        readable = re.sub(r"[^A-Za-z0-9_-]+", "_", task_id)[:60]
        digest = hashlib.sha256(task_id.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        return self.storage_dir / f"{readable}-{digest}.{kind}.json"


def _write(path: Path, data: Mapping[str, Any]) -> None:
    """Write a file beside it first: `os.replace` then swaps them in one step."""
    descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".tmp")
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(data, file, indent=1)
        os.replace(beside, path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def _read(path: Path) -> Any:
    """What the file holds; None if there is no file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:  # no JSON, or no UTF-8
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ResultGetError:
    return ResultGetError(f"the file {path} is damaged: {error}; delete it, or restore it")


@actorq.task
async def word_count(text: str, ctx: actorq.Context = actorq.Depends()) -> dict[str, int]:
    """How often each word occurs."""
    words = text.lower().split()
    counts: dict[str, int] = {}
    for done, word in enumerate(words, start=1):
        counts[word] = counts.get(word, 0) + 1
        await ctx.set_progress(
            TaskProgress(progress=done / len(words), status=f"{done} of {len(words)} words")
        )
    return counts


async def main(folder: str) -> None:
    def new_broker() -> actorq.InMemoryBroker:
        return actorq.InMemoryBroker().with_result_backend(FileResultBackend(folder))

    async with actorq.open_system(new_broker()) as sys:
        handle = await sys.enqueue(word_count, "to be or not to be")
        print("counted: ", await handle.result())

    # that system is gone, and its queue with it; the files are still there
    async with actorq.open_system(new_broker()) as sys:
        again = sys.handle(handle.task_id, word_count)
        print("read:    ", (await again.get_result()).return_value)
        print("progress:", await again.get_progress())
        try:
            await sys.handle("never-enqueued").get_result()
        except ResultGetError as error:
            print("missing: ", error)

    files = await trio.to_thread.run_sync(os.listdir, folder)
    print("files:   ", *sorted(files), sep="\n  ")


if __name__ == "__main__":
    if len(argv) > 1:
        trio.run(main, argv[1])
    else:
        with tempfile.TemporaryDirectory() as temporary:
            trio.run(main, temporary)
