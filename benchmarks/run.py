"""Measure the budgets of docs/performance.md: `make bench`, or `python benchmarks/run.py`.

Every figure is a ratio against something that ran beside it in the same round.
`--quick` is a smoke run, `--row NAME` (again and again) picks rows, `--row 'durable-*'` all that are
called so, `--write` writes the page.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from time import perf_counter

import durable_rows
import fleet
import hooks
import idle
import page
import roundtrip
import scale
import sleeping
import throughput
from measure import Finding, Group, measure, text_table
from peers import peer_python


GROUPS = (
    Group(throughput.ROWS),
    Group(roundtrip.ROUND_TRIP_ROWS),
    Group(roundtrip.ASK_ROWS),
    Group(sleeping.ROWS),
    Group(scale.CORE_ROWS),
    Group(scale.SYSTEM_ROWS),
    Group(idle.ROWS),
    Group(hooks.ROWS),
    *durable_rows.GROUPS,
)
NAMES = [row.name for group in GROUPS for row in group.rows]


def rows_called(pattern: str) -> list[str]:
    """The rows whose names fit."""
    if names := [name for name in NAMES if fnmatchcase(name, pattern)]:
        return names
    raise argparse.ArgumentTypeError(f"no row is called {pattern!r}; there are {', '.join(NAMES)}")


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="little work, one round: smoke only")
    parser.add_argument(
        "--row",
        action="extend",
        type=rows_called,
        metavar="NAME",
        help=f"this row, or all of this pattern (repeatable): {', '.join(NAMES)}",
    )
    parser.add_argument("--rounds", type=int, help="rounds (5; with --quick 1)")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a budget is missed")
    parser.add_argument("--verbose", action="store_true", help="show what every program reports")
    chosen = parser.parse_args(arguments)
    if chosen.write and (chosen.quick or chosen.row or (chosen.rounds or 5) < 5):
        parser.error("--write needs a whole run of at least five rounds")
    if chosen.rounds is None:
        chosen.rounds = 1 if chosen.quick else 5
    if chosen.rounds < 1:
        parser.error("--rounds expects a number >= 1")
    return chosen


def main() -> int:
    """Measure, print, write."""
    chosen = options()
    began = perf_counter()
    groups = [group.only(chosen.row or NAMES) for group in GROUPS]
    if fleet.REDIS is None:
        print("no redis-server here: the rows beside it are left out", file=sys.stderr)
        groups = [each.without(lambda program: program.name.startswith("redis")) for each in groups]
    peer: str | None = None
    if any(program.peer for group in groups for program in group.programs):
        peer = peer_python()

    def tell(line: str) -> None:
        if chosen.verbose:
            print(line, file=sys.stderr)

    findings: list[Finding] = []
    for group in groups:
        findings += measure(
            group, sys.executable, peer, rounds=chosen.rounds, quick=chosen.quick, tell=tell
        )
    print(text_table([each.cells() for each in findings]))
    print(f"\n{chosen.rounds} rounds, {perf_counter() - began:.0f} s; {page.machine()}")
    if chosen.write:
        print(f"written: {page.write(findings, chosen.rounds, peer)}")
    return int(chosen.check and any(each.met is False for each in findings))


if __name__ == "__main__":
    sys.exit(main())
