"""The judge of the crash rounds notices what is wrong: journals, made up, each with one fault."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

import actorq
from crash import tasks
from crash.fleet import Fleet
from crash.journal import Entry
from crash.verdict import Death, Judge, Trouble, Verdict


SECOND = 10**9

#: Two workers, of which the second is killed at ten seconds.
FIRST, SECOND_ONE = 1, 2


class Story:
    """A journal, line by line; times in seconds."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.results: dict[str, actorq.TaskResult[Any] | None] = {}
        for pid in (FIRST, SECOND_ONE):
            self.say(0, pid, "up", "worker")

    def say(self, at: float, pid: int, what: str, *words: object) -> None:
        """A line."""
        self.entries.append(Entry(what, int(at * SECOND), pid, tuple(map(str, words))))

    def accepted(self, kind: str, *task_ids: str, index: int = 0, at: float = 1) -> None:
        """A call."""
        self.say(at, 9, "asked", index)
        self.say(at, 9, "accepted", index, kind, *task_ids)

    def ran(
        self,
        task_id: str,
        attempt: int = 1,
        *,
        at: float = 2,
        until: float | None = 3,
        pid: int = FIRST,
        kind: str = "step",
        how: str = "end",
    ) -> None:
        """An execution; cut off without *until*.  The last one that ended has its result stored."""
        words = (task_id, attempt, f"{task_id}-{attempt}", kind)
        self.say(at, pid, "begin", *words)
        if until is not None:
            self.say(until, pid, how, *words)
            if how == "end":
                self.stored(task_id, attempt, pid)

    def stored(self, task_id: str, attempt: int, pid: int = FIRST) -> None:
        """A result."""
        value = f"{attempt} {pid} {task_id}-{attempt}"
        self.results[task_id] = actorq.TaskResult(return_value=value, attempts=attempt)

    def verdict(self, *troubles: tuple[float, float], of: int | None = None) -> Verdict:
        """What the judge says; *troubles*: from when to when, of one process or of all."""
        dead = SimpleNamespace(killed=10 * SECOND, died=10 * SECOND + 1000, stopped=None)
        members = [
            SimpleNamespace(pid=FIRST, role="worker", killed=None, died=None, stopped=None),
            SimpleNamespace(pid=SECOND_ONE, role="worker", **vars(dead)),
        ]
        journal = SimpleNamespace(entries=sorted(self.entries, key=lambda entry: entry.at))
        fleet = SimpleNamespace(journal=journal, lease=3.0, members=members)
        others = cast("dict[int, Death]", {})
        spans = [Trouble("cut", since * SECOND, until * SECOND, of) for since, until in troubles]
        return Judge(cast(Fleet, fleet), self.results, others, spans).judge()


@pytest.fixture
def story() -> Story:
    """An empty one."""
    return Story()


def test_what_is_right_is_not_complained_of(story: Story) -> None:
    """A task, one that was cut off and ran again, one that failed, a chain, limits."""
    story.accepted("step", "a")
    story.ran("a")
    story.accepted("step", "b")
    story.ran("b", pid=SECOND_ONE, at=9, until=None)
    story.ran("b", 2, at=11, until=12)
    story.accepted("flaky", "c")
    story.ran("c", kind="flaky", how="failed")
    story.ran("c", 2, kind="flaky", at=4, until=5)
    story.accepted("chain", "d", "e")
    story.ran("d", kind="link")
    story.ran("e", kind="link", at=4, until=5)
    verdict = story.verdict()
    assert not verdict.complaints
    assert verdict.again == 1
    assert verdict.recovery == [1.0]


def test_a_lost_task_is_noticed(story: Story) -> None:
    """31: accepted, and no result."""
    story.accepted("step", "a")
    story.results["a"] = None
    assert len(story.verdict().lost) == 1


def test_a_task_that_failed_for_no_reason_is_noticed(story: Story) -> None:
    """32: what is acknowledged when its result is stored is not lost with its worker."""
    story.accepted("step", "a")
    story.ran("a", pid=SECOND_ONE, at=9, until=None)
    story.results["a"] = actorq.TaskResult(is_err=True, error=actorq.WorkerLost("gone"))
    assert len(story.verdict().lost) == 1


def test_a_stale_result_is_noticed(story: Story) -> None:
    """34: the first attempt's result stands, though a second one ran."""
    story.accepted("step", "a")
    story.ran("a", pid=SECOND_ONE, at=9, until=9.5)
    story.ran("a", 2, at=11, until=12)
    story.stored("a", 1, SECOND_ONE)
    assert len(story.verdict().stale) == 1


def test_a_repetition_without_a_cause_is_noticed(story: Story) -> None:
    """35: its worker lives, and it runs again."""
    story.accepted("step", "a")
    story.ran("a")
    story.ran("a", 2, at=4, until=5)
    assert len(story.verdict().unexplained) == 1


def test_a_repetition_before_the_death_is_noticed(story: Story) -> None:
    """35: its worker dies later."""
    story.accepted("step", "a")
    story.ran("a", pid=SECOND_ONE, at=8, until=None)
    story.ran("a", 2, at=9, until=12)
    assert len(story.verdict().unexplained) == 1


def test_slow_recovery_is_noticed(story: Story) -> None:
    """29: another worker lived all the time, and let it be for more than two leases."""
    story.accepted("step", "a")
    story.ran("a", pid=SECOND_ONE, at=9, until=None)
    story.ran("a", 2, at=16.5, until=17)
    (complaint,) = story.verdict().wrong
    assert complaint.startswith("6.5 s")


def test_an_attempt_that_comes_twice_is_noticed(story: Story) -> None:
    """33: two deliveries with one number."""
    story.accepted("step", "a")
    story.ran("a", pid=SECOND_ONE, at=9, until=None)
    story.ran("a", at=11, until=12)
    assert story.verdict().wrong


def test_what_may_run_once_at_most_and_runs_twice_is_noticed(story: Story) -> None:
    """32: acknowledged when it was received."""
    story.accepted("at_most_once", "a")
    story.ran("a", kind="at_most_once", pid=SECOND_ONE, at=9, until=None)
    story.ran("a", 2, kind="at_most_once", at=11, until=12)
    assert story.verdict().wrong


def test_one_too_many_is_noticed(story: Story) -> None:
    """41: four of what may run three at a time."""
    for number in range(tasks.LIMIT + 1):
        story.accepted("limited", f"a{number}")
        story.ran(f"a{number}", kind="limited", at=2 + number / 100)
    assert story.verdict().wrong


def test_two_of_a_key_are_noticed(story: Story) -> None:
    """39: the second began before the first had ended."""
    story.accepted("keyed", "a")
    story.accepted("keyed", "b")
    story.ran("a", kind="keyed:k")
    story.ran("b", kind="keyed:k", at=2.5, until=4)
    assert len(story.verdict().wrong) == 1


def test_what_is_early_is_noticed(story: Story) -> None:
    """38: it began before its delay was over."""
    story.accepted("late", "a", at=1)
    story.ran("a", kind="late", at=1 + tasks.DELAY / 2)
    assert len(story.verdict().wrong) == 1


def test_a_chain_out_of_order_is_noticed(story: Story) -> None:
    """30: the second step began before the first had ended."""
    story.accepted("chain", "a", "b")
    story.ran("a", kind="link")
    story.ran("b", kind="link", at=2.5, until=4)
    assert len(story.verdict().wrong) == 1


def test_a_trouble_explains_a_repetition(story: Story) -> None:
    """35: the server was away while it ran; and while what it had done could not be said."""
    story.accepted("step", "a")
    story.ran("a", at=2, until=4)
    story.ran("a", 2, at=8, until=9)
    story.accepted("at_most_once", "b")
    story.ran("b", kind="at_most_once", at=2, until=4)
    story.results["b"] = actorq.TaskResult(is_err=True, error=actorq.WorkerLost("gone"))
    verdict = story.verdict((3, 7))
    assert not verdict.complaints
    assert (verdict.again, verdict.repeated) == (1, 1)


@pytest.mark.parametrize(
    "trouble",
    [(8.5, 9), (7.5, 9), (0.1, 0.2), (-20, -10)],
    ids=["after", "late", "before", "long ago"],
)
def test_a_trouble_at_another_time_explains_nothing(
    story: Story, trouble: tuple[float, float]
) -> None:
    """35: it came when the task had ended for more than a lease, or was over long before."""
    story.accepted("step", "a")
    at = 10 if trouble == (0.1, 0.2) else 2
    story.ran("a", at=at, until=at + 1)
    story.ran("a", 2, at=at + 6, until=at + 7)
    assert len(story.verdict(trouble).unexplained) == 1


def test_the_trouble_of_a_process_explains_what_happened_to_it(story: Story) -> None:
    """35: and to no other."""
    story.accepted("step", "a")
    story.ran("a", at=2, until=4)
    story.ran("a", 2, at=8, until=9)
    assert not story.verdict((3, 7), of=FIRST).complaints
    assert len(story.verdict((3, 7), of=SECOND_ONE).unexplained) == 1


def test_the_result_of_what_was_acknowledged_before_may_be_missing_after_a_trouble(
    story: Story,
) -> None:
    """32: nobody answers for it any more; without a trouble it is lost all the same."""
    story.accepted("at_most_once", "a")
    story.ran("a", kind="at_most_once", at=2, until=4)
    story.results["a"] = None
    assert not story.verdict((3, 5)).complaints
    assert len(story.verdict().lost) == 1


def test_troubles_that_follow_one_another_are_one(story: Story) -> None:
    """35: who stood still twice may begin after the second what it was given before the first."""
    story.accepted("step", "a")
    story.ran("a", 1, at=14, until=15, pid=FIRST)
    story.ran("a", 2, at=5, until=6, pid=SECOND_ONE)
    story.stored("a", 2, SECOND_ONE)
    assert not story.verdict((1, 4), (9, 13)).complaints
    assert story.verdict((1, 4)).complaints


def test_a_trouble_does_not_excuse_what_is_lost(story: Story) -> None:
    """31, 34: neither a task, nor a stale result, nor one that ends because its worker was lost."""
    story.accepted("step", "a", "b", "c")
    story.results["a"] = None
    story.ran("b", at=2, until=4)
    story.ran("b", 2, at=5, until=6)
    story.stored("b", 1)
    story.ran("c", at=2, until=None)
    story.results["c"] = actorq.TaskResult(is_err=True, error=actorq.WorkerLost("gone"))
    verdict = story.verdict((3, 4))
    assert (len(verdict.lost), len(verdict.stale)) == (2, 1)
