"""Findings: what the evidence says, promise by promise, and what it does not say.

Pure: evidence in, rows out.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from actorq.testing.promises import PROMISES
from actorq.testing.report.evidence import Evidence, Outcome, TestRun
from actorq.testing.tally import Trial


@attrs.frozen
class Row:
    """One promise, or all of them together."""

    key: str  #: a number of actorq's promises, or a key or the words of the project's own
    text: str
    tests: int = 0  #: that ran
    failed: int = 0
    examples: int = 0
    simulations: int = 0
    crash_points: int = 0
    killed: int = 0  #: mutants
    tried: int = 0  #: mutants
    virtual_seconds: float = 0.0

    @property
    def virtual_hours(self) -> float:
        """Hours that went by in simulations."""
        return self.virtual_seconds / 3600


@attrs.frozen
class Findings:
    """What a report says."""

    rows: tuple[Row, ...]  #: by promise
    others: Row | None  #: tests that name no promise
    total: Row  #: each test once, however many promises it names
    mutants: tuple[Trial, ...]  #: by promise, each once
    untested: tuple[tuple[str, str], ...]  #: promises that no test that passed is about
    failed: tuple[TestRun, ...]
    skipped: tuple[TestRun, ...]
    xfailed: tuple[TestRun, ...]

    @property
    def survivors(self) -> tuple[Trial, ...]:
        """Mutants that nobody noticed."""
        return tuple(trial for trial in self.mutants if trial.caught_by is None)


def findings(evidence: Evidence) -> Findings:
    """Sum up."""
    runs = evidence.runs
    mutants = _by_name(trial for run in runs for trial in run.trials)
    texts = dict(evidence.expected)
    for key in [key for run in runs for key in run.promises]:
        texts.setdefault(key, text_of(key))
    for trial in mutants:
        texts.setdefault(str(trial.promise), text_of(str(trial.promise)))
    rows = [
        _row(
            key,
            text,
            [run for run in runs if key in run.promises],
            [trial for trial in mutants if str(trial.promise) == key],
        )
        for key, text in sorted(texts.items(), key=_place)
    ]
    others = [run for run in runs if not run.promises]
    passed = {key for run in runs if run.outcome is Outcome.PASSED for key in run.promises}
    return Findings(
        rows=tuple(rows),
        others=_row("", "tests that name no promise", others, []) if others else None,
        total=_row("", "all, each test once", runs, mutants),
        mutants=tuple(mutants),
        untested=tuple((row.key, row.text) for row in rows if row.key not in passed),
        failed=_with(runs, Outcome.FAILED),
        skipped=_with(runs, Outcome.SKIPPED),
        xfailed=_with(runs, Outcome.XFAILED),
    )


def text_of(key: str) -> str:
    """What a promise says; of the project's own, the key itself."""
    return PROMISES.get(int(key), "") if key.isdecimal() else ""


def _place(item: tuple[str, str]) -> tuple[int, float]:
    """actorq's promises by number; a project's own after them, as they came."""
    return (0, int(item[0])) if item[0].isdecimal() else (1, 0)


def _with(runs: Iterable[TestRun], outcome: Outcome) -> tuple[TestRun, ...]:
    return tuple(run for run in runs if run.outcome is outcome)


def _by_name(trials: Iterable[Trial]) -> list[Trial]:
    """Each mutant once; one that survived any of its trials has survived."""
    found: dict[str, Trial] = {}
    for trial in trials:
        if trial.mutant not in found or trial.caught_by is None:
            found[trial.mutant] = trial
    return sorted(found.values(), key=lambda trial: (trial.promise, trial.mutant))


def _row(key: str, text: str, runs: Iterable[TestRun], trials: Iterable[Trial]) -> Row:
    ran = [run for run in runs if run.outcome is not Outcome.SKIPPED]
    mutants = list(trials)
    return Row(
        key=key,
        text=text,
        tests=len(ran),
        failed=sum(run.outcome is Outcome.FAILED for run in ran),
        examples=sum(run.examples for run in ran),
        simulations=sum(run.simulations for run in ran),
        crash_points=sum(run.crash_points for run in ran),
        killed=sum(trial.caught_by is not None for trial in mutants),
        tried=len(mutants),
        virtual_seconds=sum(run.virtual_seconds for run in ran),
    )
