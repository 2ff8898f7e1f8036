"""Rounds in which somebody is killed at random; `make crash-rounds` plays 200."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from crash.rounds import Round, play


pytestmark = pytest.mark.engine

ROUNDS = int(os.environ.get("ACTORQ_CRASH_ROUNDS", "20" if os.environ.get("CI") else "6"))
#: The first seed; the same in CI, another one at the desk.
SEED = int(
    os.environ.get("ACTORQ_CRASH_SEED", 1 if os.environ.get("CI") else random.randrange(10**6))
)


@pytest.mark.parametrize("number", range(ROUNDS))
async def test_whoever_is_killed_nothing_is_lost(number: int, tmp_path: Path) -> None:
    """28, 29, 31, 32, 33, 34, 38, 39, 40, 41: SIGKILL at random points under load, 500 tasks."""
    round_ = Round.drawn(SEED + number)
    verdict = await play(round_, tmp_path)
    assert not verdict.complaints, f"{verdict.complaints}\nwith ACTORQ_CRASH_SEED={SEED}: {round_}"
