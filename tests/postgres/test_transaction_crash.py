"""31, 32. A program that is killed in its transaction leaves its row and its task, or neither."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from servers.postgres import PostgresServer


pytestmark = pytest.mark.engine

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("transaction_program.py")
STAGES = ("begun", "inserted", "enqueued", "committed")


def start(server: PostgresServer, schema: str, rounds: int, how: str) -> subprocess.Popen[str]:
    """The program, at work."""
    server.ask(f"create table {schema}_orders (id serial primary key, task text)")
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), server.url, schema, str(rounds), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
    )


def both(server: PostgresServer, schema: str) -> tuple[list[str], list[str]]:
    """The ids in the program's table, and those in the queue's, when the server has let go of it."""
    own = f"{schema}_orders"
    until = time.monotonic() + 30
    while server.ask(
        "select from pg_locks where relation = %s::regclass and pid <> pg_backend_pid()", own
    ):
        assert time.monotonic() < until
    orders = [task for (task,) in server.ask(f"select task from {own} order by task")]
    if server.ask("select to_regclass(%s)", f"{schema}.inbox") == [(None,)]:
        return orders, []
    rows = server.ask(f"select sent ->> 0 from {schema}.inbox order by 1")
    return orders, sorted([task for (task,) in rows])


@pytest.mark.parametrize("stage", STAGES)
def test_a_program_killed_at_each_stage_leaves_both_or_neither(
    stage: str, server: PostgresServer, namespace: str
) -> None:
    """31: before the commit there is nothing of it, after it there is all."""
    program = start(server, namespace, 1, "halting")
    assert program.stdin is not None
    assert program.stdout is not None
    with program:
        for word in program.stdout:
            if word.strip() == stage:
                program.kill()
                break
            program.stdin.write("\n")
            program.stdin.flush()
    orders, tasks = both(server, namespace)
    assert sorted(orders) == tasks
    assert len(tasks) == (1 if stage == "committed" else 0)


@pytest.mark.parametrize("seed", range(3))
def test_a_program_killed_at_any_moment_leaves_both_or_neither(
    seed: int, server: PostgresServer, namespace: str
) -> None:
    """31: many transactions in a row, and SIGKILL somewhere among them."""
    program = start(server, namespace, 10_000, "running")
    assert program.stdout is not None
    with program:
        for _ in range(random.Random(seed).randrange(20, 200)):
            assert program.stdout.readline()
        program.kill()
    orders, tasks = both(server, namespace)
    assert sorted(orders) == tasks
    assert len(tasks) >= 4  # what was said to be committed, at least
