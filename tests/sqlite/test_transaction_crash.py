"""31, 32. A program that is killed in its transaction leaves its row and its task, or neither."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from .here import HERE


pytestmark = pytest.mark.engine

PROGRAM = Path(__file__).with_name("transaction_program.py")
STAGES = ("begun", "inserted", "enqueued", "committed")


def start(path: Path, rounds: int, how: str) -> subprocess.Popen[str]:
    """The program, at work."""
    with sqlite3.connect(path) as connection:
        connection.execute("create table if not exists orders (id integer primary key, task)")
    connection.close()
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(path), str(rounds), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=HERE,
        text=True,
    )


def both(path: Path) -> tuple[list[str], list[str]]:
    """The ids in the program's table, and those in the queue's."""
    connection = sqlite3.connect(path)
    try:
        orders = [task for (task,) in connection.execute("select task from orders order by task")]
        there = connection.execute("select 1 from sqlite_master where name = 'actorq_tasks'")
        if there.fetchone() is None:
            return orders, []
        tasks = connection.execute("select task_id from actorq_tasks order by task_id")
        return orders, [task for (task,) in tasks]
    finally:
        connection.close()


@pytest.mark.parametrize("stage", STAGES)
def test_a_program_killed_at_each_stage_leaves_both_or_neither(stage: str, path: Path) -> None:
    """31: before the commit there is nothing of it, after it there is all."""
    program = start(path, 1, "halting")
    assert program.stdin is not None
    assert program.stdout is not None
    with program:
        for word in program.stdout:
            if word.strip() == stage:
                program.kill()
                break
            program.stdin.write("\n")
            program.stdin.flush()
    orders, tasks = both(path)
    assert orders == tasks
    assert len(tasks) == (1 if stage == "committed" else 0)


@pytest.mark.parametrize("seed", range(5))
def test_a_program_killed_at_any_moment_leaves_both_or_neither(seed: int, path: Path) -> None:
    """31: many transactions in a row, and SIGKILL somewhere among them."""
    program = start(path, 10_000, "running")
    assert program.stdout is not None
    with program:
        for _ in range(random.Random(seed).randrange(20, 400)):
            assert program.stdout.readline()
        program.kill()
    orders, tasks = both(path)
    assert orders == tasks
    assert len(tasks) >= 4  # what was said to be committed, at least
