"""What must hold after a round, whoever was killed: by the journal, the results and the tables."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import attrs

import actorq
from crash import tasks
from crash.fleet import Fleet
from crash.journal import Entry


NANO = 1e9


@attrs.define
class Execution:
    """One run of a task's function."""

    task_id: str
    attempt: int
    token: str
    kind: str
    pid: int
    began: int
    how: str = ""  #: end, failed, cancelled; or nothing, if it was cut off
    ended: float = math.inf

    @property
    def name(self) -> str:
        """What its task returns."""
        return f"{self.attempt} {self.pid} {self.token}"


def executions(entries: Iterable[Entry]) -> dict[str, list[Execution]]:
    """Of each task, in the order of their attempts."""
    of: dict[str, list[Execution]] = defaultdict(list)
    by_token: dict[str, Execution] = {}
    for each in entries:
        if each.what == "begin":
            task_id, attempt, token, kind = each.words
            run = Execution(task_id, int(attempt), token, kind, each.pid, each.at)
            of[task_id].append(run)
            by_token[token] = run
        elif each.what in ("end", "failed", "cancelled"):
            run = by_token[each.words[2]]
            run.how, run.ended = each.what, each.at
    return {
        task_id: sorted(runs, key=lambda run: (run.attempt, run.began))
        for task_id, runs in of.items()
    }


@attrs.define
class Verdict:
    """What a round has shown; `wrong` is empty if all promises were kept."""

    tasks: int = 0  #: that were accepted
    ran: int = 0  #: executions
    died: list[str] = attrs.field(factory=list)  #: the roles of those that were killed
    again: int = 0  #: executions that a kill made necessary
    repeated: int = 0  #: of those, with one before that had ended
    recovery: list[float] = attrs.field(factory=list)  #: seconds from a kill to each of those
    lost: list[str] = attrs.field(factory=list)
    stale: list[str] = attrs.field(factory=list)
    unexplained: list[str] = attrs.field(factory=list)
    wrong: list[str] = attrs.field(factory=list)

    @property
    def kills(self) -> int:
        """How many died."""
        return len(self.died)

    @property
    def complaints(self) -> str:
        """All that is wrong, at most ten of each kind."""
        found = [self.lost, self.stale, self.unexplained, self.wrong]
        return "\n".join(line for kind in found for line in kind[:10])


@attrs.define
class Trouble:
    """A time in which the server, or the way to it, or a process, was not what it should be."""

    name: str
    began: float
    ended: float = math.inf
    pid: int | None = None  #: if it was the trouble of one process


def _joined(troubles: Sequence[Trouble], apart: float) -> list[Trouble]:
    """Those that follow one another too soon for who is late by the first to have caught up."""
    joined: list[Trouble] = []
    for each in sorted(troubles, key=lambda each: each.began):
        before = [one for one in joined if one.pid == each.pid]
        if before and each.began <= before[-1].ended + apart:
            before[-1].ended = max(before[-1].ended, each.ended)
        else:
            joined.append(attrs.evolve(each))
    return joined


class Death(Protocol):
    """When a process died, if it was killed, not before, nor after; since when it stood still."""

    killed: int | None
    died: int | None
    stopped: int | None


NOBODY: Final[Mapping[int, Death]] = {}


class Judge:
    """Holds a round against the promises.

    *others*: processes that the fleet did not start itself.  *troubles*: what may cost a job its lease.
    """

    def __init__(
        self,
        fleet: Fleet,
        results: Mapping[str, actorq.TaskResult[Any] | None],
        others: Mapping[int, Death] = NOBODY,
        troubles: Sequence[Trouble] = (),
    ) -> None:
        self.troubles = _joined(troubles, 2 * fleet.lease * NANO)
        self.slack = 0.0  #: seconds that may pass besides, on a busy machine
        self.excused = 0  #: executions that a trouble made necessary, and no death
        self.entries = fleet.journal.entries
        self.lease = fleet.lease
        self.results = results
        self.runs = executions(self.entries)
        self.members: dict[int, Death] = {**{each.pid: each for each in fleet.members}, **others}
        for entry in self.entries:
            if entry.what == "dying" and self.members[entry.pid].killed is None:
                self.members[entry.pid].killed = entry.at  # by its own hand, right after
        self.accepted = {
            task_id: entry.words[1]
            for entry in self.entries
            if entry.what == "accepted"
            for task_id in entry.words[2:]
        }
        self.verdict = Verdict(
            tasks=len(self.accepted),
            ran=sum(map(len, self.runs.values())),
            died=[each.role for each in fleet.members if each.killed is not None],
        )

    def judge(self) -> Verdict:
        """All of it."""
        self._results()
        for runs in self.runs.values():
            self._attempts(runs)
            self._duplicates(runs)
        self._permits()
        self._keys()
        self._delays()
        self._chains()
        return self.verdict

    # --- 31, 32, 34: nothing lost, nothing stale ---

    def _results(self) -> None:
        for task_id, kind in self.accepted.items():
            result = self.results.get(task_id)
            runs = self.runs.get(task_id, [])
            if result is None and self.unsaved(task_id):
                continue
            if result is None:
                self.verdict.lost.append(f"{kind} {task_id} was accepted; no result; {runs}")
            elif result.is_err:
                self._failed(task_id, kind, result, runs)
        for task_id, result in self.results.items():
            if result is not None and not result.is_err:
                self._succeeded(task_id, result, self.runs.get(task_id, []))

    def unsaved(self, task_id: str) -> bool:
        """Nobody answers for its result: it was acknowledged before it ran, and then came a trouble."""
        runs = self.runs.get(task_id, [])
        return bool(
            self.accepted.get(task_id) == "at_most_once"
            and len(runs) == 1
            and self._trouble(runs[0]) is not None
        )

    def _failed(
        self, task_id: str, kind: str, result: actorq.TaskResult[Any], runs: Sequence[Execution]
    ) -> None:
        lost = isinstance(result.error, actorq.WorkerLost)
        cut_off = not runs or (len(runs) == 1 and self._killed(runs[0]) is not None)
        if runs and len(runs) == 1 and self._trouble(runs[0]) is not None:
            cut_off = True
        if not (kind == "at_most_once" and lost and cut_off):
            self.verdict.lost.append(f"{kind} {task_id} failed: {result.error!r}; {runs}")

    def _succeeded(
        self, task_id: str, result: actorq.TaskResult[Any], runs: Sequence[Execution]
    ) -> None:
        last = runs[-1] if runs else None
        if last is None or last.how != "end" or result.return_value != last.name:
            self.verdict.stale.append(f"{task_id}: {result.return_value!r} is stored; {runs}")
        elif result.attempts != last.attempt:
            self.verdict.stale.append(f"{task_id}: attempt {result.attempts} is stored; {runs}")

    # --- 32, 33: who runs again, and why ---

    def _attempts(self, runs: Sequence[Execution]) -> None:
        attempts = [run.attempt for run in runs]
        began = [run.began for run in runs]
        # who stood still may begin what it had been given, when another one has ended it long ago
        in_order = began == sorted(began) or self._any_stopped() or bool(self.troubles)
        if len(attempts) != len(set(attempts)) or not in_order:
            self.verdict.wrong.append(f"{runs[0].task_id}: attempts {attempts}; {runs}")
        if runs[0].kind == "at_most_once" and len(runs) > 1:
            self.verdict.wrong.append(f"{runs[0].task_id}: at most once, but {runs}")

    def _duplicates(self, runs: Sequence[Execution]) -> None:
        for run, again in itertools.pairwise(runs):
            if run.how == "failed" and run.kind == "flaky":
                continue
            death = self._killed(run)
            if death is None or again.began < death:
                trouble = self._trouble(run)
                if trouble is not None and again.began > trouble.began:
                    self.excused += 1
                    self.verdict.again += 1
                    self.verdict.repeated += run.how == "end"
                    continue
                self.verdict.unexplained.append(f"{run} ran again as {again}; {self._deaths()}")
                continue
            self.verdict.again += 1
            self.verdict.repeated += run.how == "end"
            took = self._left_undone(death, again.began)
            self.verdict.recovery.append(took)
            bound = 2 * self.lease + (self.slack if self.troubles else 0)
            if took > bound and self._trouble(run) is None:
                self.verdict.wrong.append(f"{took:.1f} s until {run} ran again as {again}")

    def _killed(self, run: Execution) -> int | None:
        """When its process was killed or stopped after it had begun, at the earliest."""
        member = self.members.get(run.pid)
        if member is None:
            return None
        if member.stopped is not None and run.began < member.stopped + 2 * self.lease * NANO:
            return member.stopped
        if member.killed is None or member.died is None or member.died < run.began:
            return None
        return member.killed

    def _trouble(self, run: Execution) -> Trouble | None:
        """What may have cost it its lease."""
        for each in self.troubles:
            is_late = bool(run.how) and each.began > run.ended + self.lease * NANO
            if each.pid not in (None, run.pid):
                continue
            if not is_late and run.began < each.ended + 2 * self.lease * NANO:
                return each
        return None

    def _left_undone(self, death: int, again: int) -> float:
        """For how many seconds, from the death to the next run, any one worker lived and let it be."""
        lives = [
            (entry.at, self.members[entry.pid].killed or math.inf)
            for entry in self.entries
            if entry.what == "up" and entry.words == ("worker",) and entry.pid in self.members
        ]
        return max([(min(end, again) - max(begin, death)) / NANO for begin, end in lives] + [0.0])

    def _deaths(self) -> str:
        return ", ".join(f"{pid}: {each.killed}" for pid, each in self.members.items())

    # --- 38, 39, 41, and chains ---

    def _permits(self) -> None:
        if self._any_stopped():
            return  # what stands still runs beside its successor, as nobody can prevent
        for moment, running in self._overlaps("limited"):
            if len(running) > tasks.LIMIT:
                self.verdict.wrong.append(f"at {moment} these ran at a time: {running}")

    def _keys(self) -> None:
        if self._any_stopped():
            return
        kinds = {run.kind for runs in self.runs.values() for run in runs}
        for kind in sorted(kind for kind in kinds if kind.startswith("keyed:")):
            spans = sorted(
                (runs[0].began, self._over(runs[-1]), task_id)
                for task_id, runs in self.runs.items()
                if runs[0].kind == kind
            )
            for (_, over, one), (began, _, two) in itertools.pairwise(spans):
                if began < over:
                    self.verdict.wrong.append(f"{kind}: {two} began before {one} had ended")

    def _delays(self) -> None:
        asked: dict[str, int] = {}
        for entry in self.entries:
            if entry.what == "asked":
                asked[entry.words[0]] = entry.at  # of several clients the last was accepted
        for entry in self.entries:
            if entry.what == "accepted" and entry.words[1] == "late":
                (first, *_) = self.runs[entry.words[2]]
                if not any(
                    each.at + tasks.DELAY * NANO <= first.began
                    for each in self.entries
                    if each.what == "asked" and each.words[0] == entry.words[0]
                ):
                    self.verdict.wrong.append(f"early: {first}")

    def _chains(self) -> None:
        for entry in self.entries:
            if entry.what == "accepted" and entry.words[1] == "chain":
                steps = [self.runs[task_id] for task_id in entry.words[2:] if task_id in self.runs]
                for before, after in itertools.pairwise(steps):
                    if after[0].began < before[-1].ended:
                        self.verdict.wrong.append(f"out of order: {before[-1]}, {after[0]}")

    def _any_stopped(self) -> bool:
        return self.excused > 0 or any(each.stopped is not None for each in self.members.values())

    def _over(self, run: Execution) -> float:
        """Until when it ran, at least."""
        death = self._killed(run)
        return run.ended if run.how or death is None else death

    def _overlaps(self, kind: str) -> Iterable[tuple[float, list[Execution]]]:
        spans = [run for runs in self.runs.values() for run in runs if run.kind == kind]
        for run in spans:
            yield (
                run.began,
                [other for other in spans if other.began <= run.began < self._over(other)],
            )
