"""The environment: what a system takes from the world outside."""

from __future__ import annotations

import contextvars
import os
import re
import subprocess
import sys

import pytest

from actorq.environment import (
    Environment,
    current_environment,
    new_task_id,
    set_environment,
)


def test_ids_differ_and_sort_by_age() -> None:
    """32 hex digits, the milliseconds first."""
    ids = [new_task_id() for _ in range(10_000)]
    assert len(set(ids)) == 10_000
    assert all(re.fullmatch(r"[0-9a-f]{32}", each) for each in ids[:100])
    times = [each[:12] for each in ids]
    assert times == sorted(times)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_forked_child_makes_ids_of_its_own() -> None:
    """It does not go on with its parent's random numbers."""
    program = """
import os
from actorq.environment import new_task_id
child = os.fork()
if child:
    os.waitpid(child, 0)  # else the two lines may mix
print(new_task_id()[12:], flush=True)
"""
    # a process of its own: this one may have threads, with which forking is no good
    ran = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert len(set(ran.stdout.split())) == 2


def test_an_environment_is_set_for_its_context_only() -> None:
    """What a simulation sets does not leak."""
    mine = Environment(wall=lambda: 42.0)

    def inside() -> float:
        set_environment(mine)
        return current_environment().wall()

    assert contextvars.copy_context().run(inside) == 42.0
    assert current_environment() is not mine
