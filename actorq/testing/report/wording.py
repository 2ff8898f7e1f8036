"""What a report says in words and numbers, whatever it is written in."""

from __future__ import annotations

from collections.abc import Sequence

from actorq.testing.report.evidence import Evidence, TestRun
from actorq.testing.report.findings import Findings, Row


HEADS = ("tests", "examples", "simulations", "crash points", "mutants", "virtual hours")


def numbers(row: Row) -> tuple[str, ...]:
    """The cells below `HEADS`."""
    tests = f"{row.tests:,}"
    if row.failed:
        tests += f" ({row.failed:,} failed)"
    mutants = "" if not row.tried else f"{row.killed} of {row.tried}"
    return (
        tests,
        f"{row.examples:,}",
        f"{row.simulations:,}",
        f"{row.crash_points:,}",
        mutants,
        hours(row.virtual_hours),
    )


def hours(amount: float) -> str:
    """Hours with as many digits as matter."""
    if amount == 0:
        return "0"
    return f"{amount:,.0f}" if amount >= 100 else f"{amount:.1f}" if amount >= 0.1 else "< 0.1"


def headline(found: Findings) -> str:
    """All in one sentence."""
    total = found.total
    shown = len(found.rows) - len(found.untested)
    mutants = f"; {total.killed} of {count(total.tried, 'mutant')} caught" if total.tried else ""
    failed = f"; {count(total.failed, 'test')} failed" if total.failed else ""
    return (
        f"{count(shown, 'promise')}, {count(total.tests, 'test')}, {count(total.examples, 'example')}, "
        f"{count(total.simulations, 'simulation')} with {hours(total.virtual_hours)} virtual hours, "
        f"{count(total.crash_points, 'crash point')}{mutants}{failed}"
    )


def count(number: int, noun: str) -> str:
    """Such as "1 test", "2 tests"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def name_of(key: str, text: str) -> str:
    """A promise's number and text; of one without a number, its text."""
    return f"{key}. {text}" if key.isdecimal() else f"{key}: {text}" if text else key


def gaps(evidence: Evidence, found: Findings) -> list[tuple[str, list[str]]]:
    """What is not covered, the worst first: headings and what stands below each."""
    unknown = [
        f"{count(evidence.deselected, 'test')} left out by -k, -m or the like",
        f"{count(evidence.unrun, 'test')} that the run did not get to",
    ]
    said = [
        ("Failed tests", [_with_reason(run) for run in found.failed]),
        (
            "Mutants that survived",
            [f"{each.mutant}: {each.breaks} (promise {each.promise})" for each in found.survivors],
        ),
        ("Files that could not be read", list(evidence.uncollected)),
        ("Promises without a test that passed", _untested(found)),
        ("Tests that were skipped", _by_reason(found.skipped)),
        ("Tests that are expected to fail", [_with_reason(run) for run in found.xfailed]),
        ("Tests that did not run", [each for each in unknown if not each.startswith("0 ")]),
    ]
    return [(head, lines) for head, lines in said if lines]


def _untested(found: Findings) -> list[str]:
    """One by one; as a list of numbers if they are many, as after a run of a single file."""
    if len(found.untested) <= 12:
        return [name_of(key, text) for key, text in found.untested]
    numbers = [int(key) for key, _ in found.untested if key.isdecimal()]
    own = [name_of(key, text) for key, text in found.untested if not key.isdecimal()]
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    listed = [f"{first}" if first == last else f"{first}–{last}" for first, last in ranges]
    return [", ".join(listed), *own]


def _with_reason(run: TestRun) -> str:
    about = f" [{', '.join(run.promises)}]" if run.promises else ""
    return f"{run.test}{about}" + (f": {run.reason}" if run.reason else "")


def _by_reason(runs: Sequence[TestRun]) -> list[str]:
    """What a subject lacks is the reason of many skips at once."""
    groups: dict[str, list[TestRun]] = {}
    for run in runs:
        groups.setdefault(run.reason, []).append(run)
    lines = []
    for reason, group in groups.items():
        if len(group) == 1:
            lines.append(_with_reason(group[0]))
            continue
        promises = sorted({each for run in group for each in run.promises}, key=_place)
        about = f" [{', '.join(promises)}]" if promises else ""
        names = [run.test.rpartition("::")[2] for run in group]
        if len(set(names)) < len(names):  # the same test of several classes
            names = [run.test.partition("::")[2] for run in group]
        lines.append(f"{reason}{about}: {', '.join(names)}")
    return lines


def _place(promise: str) -> tuple[int, str]:
    return (int(promise), "") if promise.isdecimal() else (1_000, promise)


def setting(evidence: Evidence) -> list[tuple[str, str]]:
    """Where, when and how it ran."""
    where = evidence.setting
    minutes, seconds = divmod(round(evidence.seconds), 60)
    versions = ", ".join(f"{name} {version}" for name, version in where.versions.items())
    took = f"{minutes} min {seconds:02} s" if minutes else f"{evidence.seconds:.1f} s"
    return [
        ("date", where.date),
        ("versions", f"{versions} on {where.platform}"),
        ("Hypothesis profile", where.profile),
        ("took", took),
    ]
