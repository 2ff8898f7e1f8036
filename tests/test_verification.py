"""docs/verification.md: it was written when these promises and these mutants were there already."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import actorq.testing.mutants
import kernel_mutants
from actorq.testing.mutants.mutant import Mutant
from actorq.testing.promises import PROMISES


ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "verification.md").read_text(encoding="utf-8")
AGAIN = "write docs/verification.md again: make verify"


def _section(title: str) -> str:
    _, _, rest = PAGE.partition(f"\n## {title}\n")
    return rest.partition("\n## ")[0]


def _rows(title: str) -> list[list[str]]:
    lines = [line for line in _section(title).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def _mutants() -> Iterator[tuple[int, str]]:
    """All that the code has, by promise and name."""
    for each in kernel_mutants.MUTANTS:
        yield each.promise, each.name
    for module in pkgutil.iter_modules(actorq.testing.mutants.__path__, "actorq.testing.mutants."):
        for value in vars(importlib.import_module(module.name)).values():
            for each in value if isinstance(value, list | tuple) else [value]:
                if isinstance(each, Mutant):
                    yield each.promise, each.name


def test_every_promise_was_tried() -> None:
    """By a test at least, and by examples."""
    tried = {int(row[0].split(".")[0]): row for row in _rows("Promises") if row[0][0].isdigit()}
    assert list(tried) == sorted(PROMISES), AGAIN
    for number, row in tried.items():
        assert row[0] == f"{number}. {PROMISES[number]}", AGAIN
        assert row[1].isdecimal(), f"promise {number}: {row[1]}: {AGAIN}"
        assert int(row[1]) > 0, AGAIN


def test_every_mutant_was_caught() -> None:
    """Each that the code has, and none that it has not."""
    listed = {(int(promise), name) for promise, name, *_ in _rows("Mutants")}
    assert listed == set(_mutants()), AGAIN
    assert "survived" not in PAGE


@pytest.mark.parametrize(
    "gap", ["Failed tests", "Files that could not", "left out by", "Promises without"]
)
def test_nothing_was_left_out(gap: str) -> None:
    """The page is of a whole run, and a good one."""
    assert gap not in _section("What is not covered"), AGAIN


def test_the_readme_says_no_more_than_the_page() -> None:
    """How many promises there are, and how many mutants at least."""
    ((promises, caught, mutants),) = re.findall(r"(\d+) promises.*; (\d+) of (\d+) mutants", PAGE)
    assert caught == mutants
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    claim = re.search(r"(\d+) promises, and more than (\d+) mutants", readme)
    assert claim is not None
    assert claim[1] == promises
    assert int(claim[2]) < int(mutants)
