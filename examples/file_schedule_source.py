"""A schedule source of your own: one JSON file per schedule, in a folder that processes share.

A source is a table of states with one careful operation: `swap` puts a state in place of another only
if that is still there. Adding, pausing and firing are written once, on top of it.

Run it twice: python examples/file_schedule_source.py folder
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import trio

import actorq
from actorq import Schedule


class FileScheduleSource(actorq.ScheduleSource):
    """Keeps each schedule as a JSON file, for any number of processes of one machine (not Windows).

    A process that dies lets go of the lock, and a file is there as it was or as it is.
    """

    recheck = 0.5  #: seconds after which a process sees what another has changed

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._watchers: set[Callable[[str | None], None]] = set()

    async def load(self) -> Sequence[Schedule]:
        return await trio.to_thread.run_sync(self._load)

    async def fetch(self, schedule_id: str) -> Schedule | None:
        return await trio.to_thread.run_sync(_read, self._path(schedule_id))

    async def swap(
        self, schedule_id: str, version: str | None, new: Schedule | None, *, announce: bool
    ) -> bool:
        done = await trio.to_thread.run_sync(self._swap, schedule_id, version, new, announce)
        if done and announce:
            for changed in self._watchers:  # of this process: at once
                changed(schedule_id)
        return done

    async def watch(self, changed: Callable[[str | None], None]) -> None:
        self._watchers.add(changed)
        seen = None
        try:
            while True:
                announced = await trio.to_thread.run_sync(self._announced)
                if announced != seen:
                    changed(None)  # somebody changed something: all are loaded
                seen = announced
                await trio.sleep(self.recheck)
        finally:
            self._watchers.discard(changed)

    def _load(self) -> list[Schedule]:
        schedules = [_read(path) for path in self.folder.glob("*.json")]
        return [each for each in schedules if each is not None]

    def _swap(
        self, schedule_id: str, version: str | None, new: Schedule | None, announce: bool
    ) -> bool:
        path = self._path(schedule_id)
        with self._locked():
            known = _read(path)
            if (None if known is None else known.version) != version:
                return False
            if new is None:
                path.unlink(missing_ok=True)
            else:
                _write(path, json.dumps(new.to_dict(), indent=1))
            if announce:
                _write(self.folder / "announced", secrets.token_hex(8))
        return True

    def _announced(self) -> str:
        try:
            return (self.folder / "announced").read_text()
        except FileNotFoundError:
            return "nothing yet"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "lock", "w") as file:  # closed, and so let go, whatever happens
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _path(self, schedule_id: str) -> Path:
        """A safe name: ids may hold slashes, dots, anything, and some file systems ignore case."""
        digest = sha256(schedule_id.encode("utf-8", "surrogatepass")).hexdigest()
        return self.folder / f"{digest[:32]}.json"


def _read(path: Path) -> Schedule | None:
    try:
        return Schedule.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def _write(path: Path, text: str) -> None:
    """Beside it first: `os.replace` then swaps them in one step."""
    beside = path.with_suffix(".tmp")  # one writer at a time: the lock is held
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


@actorq.task
async def greet(name: str) -> None:
    print("hello,", name)


async def main(folder: str) -> None:
    source = FileScheduleSource(folder)
    broker = actorq.InMemoryBroker().with_schedule_source(source)
    async with actorq.open_system(broker, tasks=[greet]) as sys:
        known = await source.get("often")
        print("known from an earlier run:", known is not None)
        await sys.schedules.add(greet, actorq.every(0.1), "world", schedule_id="often")
        await trio.sleep(0.35)
        for info in await sys.schedules.list():
            print(info.schedule_id, info.description, "last:", info.last_task_id)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        trio.run(main, sys.argv[1])
    else:
        with tempfile.TemporaryDirectory() as temporary:
            trio.run(main, temporary)
