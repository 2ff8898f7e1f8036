"""How a queue stands among its peers: the same programs for each, and a table of all of them.

A `Row` compares two programs; a `Contest` compares many, each figure with that of the best peer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from statistics import median

from measure import Program, Report, markdown_table, number, text_table


@dataclass(frozen=True)
class Contender:
    """A queue with its settings: `PREFIX_BODY` are its programs in *module*."""

    name: str
    module: str
    prefix: str
    peer: str  #: whose environment; "" for ours
    settings: str  #: in words, for the page
    amounts: Mapping[str, int]  #: by the program's body; what has none is not measured

    def program(self, body: str) -> Program:
        """One of its programs."""
        return Program(
            self.module, f"{self.prefix}_{body}", self.amounts[body], QUICK[body], self.peer
        )


#: Amounts of a smoke run.
QUICK = {"enqueue": 100, "one_worker": 100, "two_workers": 100, "waiting": 20, "recovery": 5}


@dataclass(frozen=True)
class Figure:
    """A column: what of a report it shows, and what is good."""

    key: str
    heading: str
    more: bool = True  #: is better
    compared: bool = True  #: with the best peer's
    #: Ours against the best peer's: at least so many times, at most so many times.
    at_least: float = -math.inf
    at_most: float = math.inf

    def best(self, values: Iterable[float]) -> float:
        """Of so many."""
        return (max if self.more else min)(values)

    @property
    def budget(self) -> str | None:
        """In words."""
        if self.at_least > -math.inf:
            return f"≥ {self.at_least:g}×"
        if self.at_most < math.inf:
            return f"≤ {self.at_most:g}×"
        return None


@dataclass(frozen=True)
class Contest:
    """One program of each contender."""

    name: str
    work: str
    body: str
    figures: tuple[Figure, ...]
    contenders: tuple[Contender, ...]
    rounds: int = 1  #: at most
    together: bool = False  #: all at the same time, as they mostly wait
    note: str = ""

    def among(self, chosen: Callable[[Contender], bool]) -> Contest:
        """With fewer contenders."""
        return replace(self, contenders=tuple(filter(chosen, self.contenders)))


#: What a contender's program reported in one round, or why it did not.
Outcome = Report | str


@dataclass(frozen=True)
class Standing:
    """A contest with what was measured: by the contender's name, one outcome for each round."""

    contest: Contest
    outcomes: Mapping[str, Sequence[Outcome]] = field(repr=False)
    judged: bool = True

    def values(self, contender: Contender, figure: Figure) -> list[float]:
        """Of the rounds that went well."""
        reports = self.outcomes[contender.name]
        return [report[figure.key] for report in reports if not isinstance(report, str)]

    def best_peer(self, figure: Figure) -> Contender | None:
        """By its median."""
        peers = [
            each for each in self.contest.contenders if each.peer and self.values(each, figure)
        ]
        if not peers:
            return None
        best = figure.best(median(self.values(each, figure)) for each in peers)
        return next(each for each in peers if median(self.values(each, figure)) == best)

    @property
    def headings(self) -> tuple[str, ...]:
        """Of the table."""
        return (self.contest.name, *(figure.heading for figure in self.contest.figures))

    def lines(self) -> list[tuple[str, ...]]:
        """Each figure, and how many times the best peer's it is."""
        return [
            (each.name, *(self._cell(each, figure) for figure in self.contest.figures))
            for each in self.contest.contenders
        ]

    def _cell(self, contender: Contender, figure: Figure) -> str:
        values = self.values(contender, figure)
        if not values:
            return "failed"
        own = number(median(values))
        best = self.best_peer(figure) if figure.compared else None
        if best is None or not (theirs := median(self.values(best, figure))):
            return own
        return f"{own} ({number(median(values) / theirs)}×)"

    def budgets(self) -> list[tuple[str, ...]]:
        """One line for each figure that has one: ours, the best peer's, round by round."""
        lines: list[tuple[str, ...]] = []
        for figure in self.contest.figures:
            best, budget = self.best_peer(figure), figure.budget
            ours = next((each for each in self.contest.contenders if not each.peer), None)
            if budget is None or best is None or ours is None or not self.values(ours, figure):
                continue
            ratios = [
                own / theirs
                for own, theirs in zip(
                    self.values(ours, figure), self.values(best, figure), strict=False
                )
            ]
            lines.append(
                (
                    self.contest.name,
                    figure.heading,
                    best.name,
                    number(median(self.values(ours, figure))),
                    number(median(self.values(best, figure))),
                    f"{number(median(ratios))}× [{number(min(ratios))}–{number(max(ratios))}]",
                    budget,
                    self._verdict(figure, median(ratios)),
                )
            )
        return lines

    def _verdict(self, figure: Figure, ratio: float) -> str:
        if not self.judged:
            return "not judged"
        if figure.at_least <= ratio <= figure.at_most:
            return "met"
        limit = figure.at_least if ratio < figure.at_least else figure.at_most
        return f"MISSED by {abs(ratio / limit - 1):.0%}"

    @property
    def failures(self) -> list[str]:
        """Which programs failed, and with what."""
        return [
            f"{name} {self.contest.body}, round {round_ + 1}: {outcome}"
            for name, outcomes in self.outcomes.items()
            for round_, outcome in enumerate(outcomes)
            if isinstance(outcome, str)
        ]

    @property
    def met(self) -> bool:
        """Whether no budget is missed."""
        return not any("MISSED" in line[-1] for line in self.budgets())

    def text(self) -> str:
        """For a terminal."""
        table = text_table(self.lines(), self.headings)
        return "\n".join([table, *(f"FAILED {failure}" for failure in self.failures), ""])

    def markdown(self) -> str:
        """For the page."""
        parts = [f"**{self.contest.name}**: {self.contest.work}.", ""]
        parts += [markdown_table(self.lines(), self.headings), ""]
        if self.contest.note:
            parts += [self.contest.note, ""]
        if self.failures:
            parts += [*(f"* failed: {failure}" for failure in self.failures), ""]
        return "\n".join(parts)


def compete(
    contest: Contest,
    interpreter: Callable[[str], str],
    *,
    rounds: int,
    quick: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> Standing:
    """Run every contender's program; one that fails does not spoil the others' figures."""

    def outcome(contender: Contender) -> Outcome:
        program = contender.program(contest.body)
        try:
            report = program.run(interpreter(contender.peer), quick=quick)
        except Exception as failure:  # noqa: BLE001 - told in the table
            tell(f"{program.name}: {failure}")
            lines = str(failure).strip().splitlines() or [repr(failure)]
            return lines[-1][:200]
        tell(f"{program.name}: {dict(report)}")
        return report

    outcomes: dict[str, list[Outcome]] = {each.name: [] for each in contest.contenders}
    for round_ in range(min(rounds, contest.rounds)):
        order = contest.contenders if round_ % 2 == 0 else tuple(reversed(contest.contenders))
        for each in order:
            interpreter(each.peer)  # made before anything is timed
        with ThreadPoolExecutor(len(order) if contest.together else 1) as pool:
            for each, found in zip(order, pool.map(outcome, order), strict=True):
                outcomes[each.name].append(found)
    return Standing(contest, outcomes, judged=not quick)
