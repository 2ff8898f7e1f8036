"""The benchmarks run, and say what they should."""

from __future__ import annotations

import re
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
