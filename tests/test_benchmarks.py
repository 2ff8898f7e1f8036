"""The benchmarks run, and say what they should."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


RUN = Path(__file__).resolve().parent.parent / "benchmarks" / "run.py"


@pytest.mark.slow
def test_a_quick_row_prints_a_ratio() -> None:
    """A smoke run measures, and judges nothing."""
    done = subprocess.run(
        [sys.executable, str(RUN), "--quick", "--row", "round-trip"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    line = next(each for each in done.stdout.splitlines() if each.startswith("round-trip"))
    assert re.search(r"\d×", line), done.stdout
    assert line.endswith("not judged")


def test_an_unknown_row_is_refused() -> None:
    """The error lists the rows that there are."""
    done = subprocess.run(
        [sys.executable, str(RUN), "--row", "fastest"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "round-trip" in done.stderr


def test_a_part_of_a_section_is_not_written() -> None:
    """A page with some rows new and some old would compare what did not run together."""
    done = subprocess.run(
        [sys.executable, str(RUN), "--row", "redis-run", "--write"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "whole section" in done.stderr


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
def test_ours_runs_on_a_server_without_any_peer() -> None:
    """Where no peer can be installed, our own figures are still told."""
    done = subprocess.run(
        [sys.executable, str(RUN), "--quick", "--row", "redis-run", "--peer", "none"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    line = next(each for each in done.stdout.splitlines() if each.startswith("**actorq**"))
    assert re.search(r"\d", line), done.stdout
    assert "failed" not in line, done.stdout


def test_a_contest_is_judged_against_the_best_peer_of_each_round() -> None:
    """Whoever is best by the median of the rounds; a peer that failed spoils nobody's figures."""
    sys.path.insert(0, str(RUN.parent))
    try:
        from standings import Contender, Contest, Figure, Standing
    finally:
        sys.path.remove(str(RUN.parent))
    ours, slow, quick, broken = (
        Contender(name, "", name, peer, "", {})
        for name, peer in (("ours", ""), ("slow", "slow"), ("quick", "quick"), ("broken", "broken"))
    )
    contest = Contest(
        "run", "", "one", (Figure("rate", "tasks/s", at_least=2),), (ours, slow, quick, broken)
    )
    standing = Standing(
        contest,
        {
            "ours": [{"rate": 300.0}, {"rate": 300.0}],
            "slow": [{"rate": 10.0}, {"rate": 10.0}],
            "quick": [{"rate": 100.0}, {"rate": 200.0}],
            "broken": ["it broke", "it broke"],
        },
    )
    (line,) = standing.budgets()
    assert line[2:] == ("quick", "300", "150", "2.25× [1.5–3]", "≥ 2×", "met")
    assert standing.lines()[3] == ("broken", "failed")
    assert [each.partition(":")[0] for each in standing.failures] == [
        "broken one, round 1",
        "broken one, round 2",
    ]
