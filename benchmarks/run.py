"""Measure the budgets of docs/performance.md: `make bench`, or `python benchmarks/run.py`.

Every figure is a ratio against something that ran beside it in the same round.
`--quick` is a smoke run, `--row NAME` (again and again) picks rows, `--row 'redis-*'` all that are
called so, `--write` writes what was measured into the page, a whole section of it at least:
the rows `redis-*`, the rows `postgres-*`, or all others.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from time import perf_counter

import durable_rows
import far_rows
import hooks
import idle
import own_servers
import page
import roundtrip
import scale
import sleeping
import throughput
from measure import Finding, Group, measure, text_table
from peers import peer_python
from standings import Contest, Standing, compete


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
#: The rows of each section of the page.
SECTIONS = {
    "own": [row.name for group in GROUPS for row in group.rows],
    **{
        section: [contest.name for contest in contests]
        for section, contests in far_rows.CONTESTS.items()
    },
}
NAMES = [name for names in SECTIONS.values() for name in names]


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
    parser.add_argument(
        "--peer",
        action="append",
        metavar="NAME",
        help="of the rows on servers: ours and these only, by a pattern (repeatable)",
    )
    parser.add_argument("--rounds", type=int, help="rounds at most (5; with --quick 1)")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a budget is missed")
    parser.add_argument("--verbose", action="store_true", help="show what every program reports")
    chosen = parser.parse_args(arguments)
    chosen.row = chosen.row or NAMES
    chosen.sections = [each for each, names in SECTIONS.items() if set(names) <= set(chosen.row)]
    if chosen.write:
        if not chosen.sections:
            parser.error("--write needs a whole section: no --row, or --row 'redis-*'")
        if chosen.quick or chosen.peer or ("own" in chosen.sections and (chosen.rounds or 5) < 5):
            parser.error("--write needs a whole run, of at least five rounds for our own rows")
    if chosen.rounds is None:
        chosen.rounds = 1 if chosen.quick else 5
    if chosen.rounds < 1:
        parser.error("--rounds expects a number >= 1")
    return chosen


def main() -> int:
    """Measure, print, write."""
    chosen = options()
    began = perf_counter()

    def tell(line: str) -> None:
        if chosen.verbose:
            print(f"{perf_counter() - began:4.0f} s  {line}", file=sys.stderr)

    def interpreter(peer: str) -> str:
        return peer_python(peer) if peer else sys.executable

    findings = own_rows(chosen, interpreter, tell)
    standings: dict[str, list[Standing]] = {}
    for section, contests in far_rows.CONTESTS.items():
        with cluster(section):
            for contest in wanted(section, contests, chosen):
                standing = compete(
                    contest, interpreter, rounds=chosen.rounds, quick=chosen.quick, tell=tell
                )
                standings.setdefault(section, []).append(standing)
                print(standing.text(), flush=True)
    everything = [each for section in standings.values() for each in section]
    if findings:
        print(text_table([each.cells() for each in findings]))
    if budgets := [line for each in everything for line in each.budgets()]:
        print(text_table(budgets, page.BUDGETS))
    print(f"\n{chosen.rounds} rounds, {perf_counter() - began:.0f} s; {page.machine()}")
    if chosen.write:
        if "own" in chosen.sections:
            page.write_own(findings, chosen.rounds)
        for section in standings.keys() & set(chosen.sections):
            page.write_standings(section, standings[section])
        print(f"written: {page.PAGE}")
    missed = any(each.met is False for each in findings) or not all(each.met for each in everything)
    return int(chosen.check and missed)


def own_rows(
    chosen: argparse.Namespace, interpreter: Callable[[str], str], tell: Callable[[str], None]
) -> list[Finding]:
    """The rows that compare two programs each."""
    groups = [group.only(chosen.row) for group in GROUPS]
    if own_servers.REDIS is None and any(group.rows for group in groups):
        print("no redis-server here: the rows beside it are left out", file=sys.stderr)
        groups = [each.without(lambda program: program.name.startswith("redis")) for each in groups]
    findings: list[Finding] = []
    for group in groups:
        findings += measure(group, interpreter, rounds=chosen.rounds, quick=chosen.quick, tell=tell)
    return findings


def wanted(section: str, contests: Sequence[Contest], chosen: argparse.Namespace) -> list[Contest]:
    """Those that were asked for, among the peers that were asked for."""
    asked = [contest for contest in contests if contest.name in chosen.row]
    there = {"redis": own_servers.REDIS, "postgres": own_servers.postgres_programs()}[section]
    if asked and there is None:
        print(f"no server for the rows {section}-*: they are left out", file=sys.stderr)
        return []
    if chosen.peer:
        asked = [
            contest.among(
                lambda each: (
                    not each.peer or any(fnmatchcase(each.name, name) for name in chosen.peer)
                )
            )
            for contest in asked
        ]
    return asked


@contextmanager
def cluster(section: str) -> Iterator[None]:
    """An empty one, which every program may copy."""
    if section != "postgres" or own_servers.postgres_programs() is None:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="actorq-bench-") as folder:
        data = Path(folder) / "data"
        own_servers.make_cluster(data)
        os.environ[own_servers.CLUSTER] = str(data)
        yield
        del os.environ[own_servers.CLUSTER]


if __name__ == "__main__":
    sys.exit(main())
