"""A project with a broker on a file, and the commands of `actorq` on it, in this process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from actorq.cli.app import run
from cli.running import ROOT


MODULE = "shop_of_a_test"
BROKER = f"{MODULE}:broker"
PROJECT = """
import actorq, os, trio

broker = actorq.SQLiteBroker("shop.db", synchronous="off")


@broker.task
async def add(a: int, b: int = 1) -> int:
    return a + b


@broker.task(retries=0)
async def fails(why: str) -> None:
    raise ValueError(why)


@broker.task
async def steps(ctx: actorq.Context = actorq.Depends()) -> str:
    for step in (1, 2):
        while step == 2 and not os.path.exists("go"):
            await trio.sleep(0.01)
        await ctx.set_progress(actorq.TaskProgress(progress=step / 2, current=step, total=2))
    return "done"


@broker.task(queue="slow")
async def lasts(ctx: actorq.Context = actorq.Depends()) -> None:
    await ctx.set_progress(actorq.TaskProgress(progress=0.5, status="half"))
    await trio.sleep_forever()
"""


class Answer(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The document."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """The documents, one for each line."""
        return [json.loads(line) for line in self.out.splitlines()]


class Shop:
    """The project in the current folder."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capture = capture

    def __call__(self, *arguments: str, code: int = 0) -> Answer:
        """Run `actorq` with these; it must exit with *code*."""
        self._capture.readouterr()
        got = run(arguments)
        answer = Answer(got, *self._capture.readouterr())
        assert got == code, answer
        return answer

    def enqueue(self, *arguments: str) -> str:
        """The id."""
        return self("enqueue", *arguments).out.strip()

    @contextmanager
    def process(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """`actorq` in a process of its own, for the body; told to end then."""
        process = subprocess.Popen(
            [sys.executable, "-m", "actorq", *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=30)

    @contextmanager
    def worker(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A process that runs the tasks, for the body."""
        with self.process("worker", BROKER, "--grace", "1", "--json", *arguments) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if json.loads(line)["event"] == "ready":
                    break
            yield process


def make_shop(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capture: pytest.CaptureFixture[str],
    project: str = PROJECT,
) -> Shop:
    """In *folder*, which is the current one then."""
    (folder / f"{MODULE}.py").write_text(project)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("ACTORQ_BROKER", BROKER)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    return Shop(folder, capture)
