"""How things are measured: programs in fresh interpreters, alternating, compared as ratios.

Owns the subprocess protocol (one JSON object on standard output), the rounds and the arithmetic.
Standard library only: the peer's program runs in a virtual environment that has nothing of ours.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median


HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

#: What a program reports: numbers by name.
Report = Mapping[str, float]
#: A program's body: told how much work to do, it measures itself.
Body = Callable[[int], Report]

#: Seconds after which a program is taken to hang.
PATIENCE = 300.0


def program_main(bodies: Mapping[str, Body]) -> None:
    """Be one program: `python module.py NAME AMOUNT`, the report as JSON on standard output."""
    _, name, amount = sys.argv
    report = bodies[name](int(amount))
    print(json.dumps({"program": name, "amount": int(amount), **report}, sort_keys=True))


@dataclass(frozen=True)
class Program:
    """Something that is measured: *name* in *module*, with its amount of work."""

    module: str
    name: str
    amount: int
    quick: int  #: the amount of a smoke run
    peer: str = ""  #: runs in the environment of this peer

    def run(self, python: str, *, quick: bool) -> Report:
        """Run it once in a fresh interpreter; `RuntimeError` with what it printed if it fails."""
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        amount = str(self.quick if quick else self.amount)
        try:
            done = subprocess.run(
                [python, str(HERE / self.module), self.name, amount],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired:  # whose own text has paths of this machine, for the page
            raise RuntimeError(f"{self.name}: not within {PATIENCE:g} s") from None
        if done.returncode:
            raise RuntimeError(f"{self.module} {self.name} failed:\n{done.stdout}{done.stderr}")
        report: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return report


#: What one round gave: a report for each program, by the program's name.
Round = Mapping[str, Report]


def ratio(ours: float, floor: float) -> float:
    """How many times the floor's figure ours is."""
    return ours / floor


def excess(ours: float, floor: float) -> float:
    """How much more than the floor's figure ours is."""
    return ours - floor


@dataclass(frozen=True)
class Row:
    """One line of the table: a figure of ours, the same of its floor, and how they must compare."""

    name: str
    work: str
    ours: Program
    figure: Callable[[Report], float]
    unit: str  #: of the figure
    budget: str  #: of the comparison, as text
    against: str = "–"
    floor: Program | None = None  #: None: the figure itself is what counts
    compare: Callable[[float, float], float] = ratio
    at_most: float = math.inf
    at_least: float = -math.inf

    @property
    def programs(self) -> tuple[Program, ...]:
        """What is to be run for it."""
        return (self.ours,) if self.floor is None else (self.ours, self.floor)

    def figure_of(self, program: Program, round_: Round) -> float:
        """What *program* came to in one round."""
        return self.figure(round_[program.name])

    def value(self, round_: Round) -> float:
        """What counts of one round."""
        ours = self.figure_of(self.ours, round_)
        if self.floor is None:
            return ours
        return self.compare(ours, self.figure_of(self.floor, round_))


@dataclass(frozen=True)
class Group:
    """Rows whose programs are measured in the same rounds."""

    rows: tuple[Row, ...]
    rounds: int | None = None  #: at most so many, for what takes long and varies little

    @property
    def programs(self) -> tuple[Program, ...]:
        """Each once, however many rows it serves."""
        return tuple(dict.fromkeys(program for row in self.rows for program in row.programs))

    def only(self, names: Sequence[str]) -> Group:
        """The rows of these names."""
        return replace(self, rows=tuple(row for row in self.rows if row.name in names))

    def without(self, missing: Callable[[Program], bool]) -> Group:
        """The rows that need none of these programs."""
        return replace(
            self, rows=tuple(row for row in self.rows if not any(map(missing, row.programs)))
        )


@dataclass(frozen=True)
class Finding:
    """A row with what was measured."""

    row: Row
    rounds: Sequence[Round] = field(repr=False)
    judged: bool = True  #: False for a smoke run, which tells nothing

    @property
    def values(self) -> list[float]:
        """One value a round."""
        return [self.row.value(each) for each in self.rounds]

    @property
    def median(self) -> float:
        """The value that counts."""
        return median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the budget is kept; None for a row that has none."""
        row = self.row
        if row.at_most == math.inf and row.at_least == -math.inf:
            return None
        return row.at_least <= self.median <= row.at_most

    @property
    def verdict(self) -> str:
        """In words; a missed budget says by how much."""
        row, value = self.row, self.median
        if self.met is None:
            return "for information"
        if not self.judged:
            return "not judged"
        if self.met:
            return "met"
        limit = row.at_most if value > row.at_most else row.at_least
        if not limit:
            return f"MISSED by {value - limit:g}"
        return f"MISSED by {abs(value / limit - 1):.0%}"

    def cells(self) -> tuple[str, ...]:
        """The line of the table."""
        row = self.row
        return (
            row.name,
            row.work,
            row.against,
            self._figure(row.ours),
            "–" if row.floor is None else self._figure(row.floor),
            self.spread,
            row.budget,
            self.verdict,
        )

    @property
    def spread(self) -> str:
        """The median, the smallest and the largest value."""
        sign = "×" if self.row.floor is not None and self.row.compare is ratio else ""
        low, high = min(self.values), max(self.values)
        return f"{number(self.median)}{sign} [{number(low)}–{number(high)}]"

    def _figure(self, program: Program) -> str:
        figures = [self.row.figure_of(program, each) for each in self.rounds]
        return f"{number(median(figures))} {self.row.unit}"


HEADINGS = ("row", "work", "against", "ours", "theirs", "median [min–max]", "budget", "verdict")


def number(value: float) -> str:
    """Three significant digits, thousands with commas."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def measure(
    group: Group,
    interpreter: Callable[[str], str],
    *,
    rounds: int,
    quick: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Finding]:
    """Run the programs of a group in alternating rounds, the order reversed every other round."""
    measured: list[Round] = []
    for number_ in range(min(rounds, group.rounds or rounds)):
        order = group.programs if number_ % 2 == 0 else tuple(reversed(group.programs))
        reports: dict[str, Report] = {}
        for program in order:
            reports[program.name] = program.run(interpreter(program.peer), quick=quick)
            tell(f"round {number_ + 1}/{rounds} {program.name}: {dict(reports[program.name])}")
        measured.append(reports)
    return [Finding(row, measured, judged=not quick) for row in group.rows]


def text_table(lines: Sequence[Sequence[str]], headings: Sequence[str] = HEADINGS) -> str:
    """Columns as wide as they must be."""
    table = [headings, *lines]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    )


def markdown_table(lines: Sequence[Sequence[str]], headings: Sequence[str] = HEADINGS) -> str:
    """The same for a page."""
    table = [headings, ("---",) * len(headings), *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in table)
