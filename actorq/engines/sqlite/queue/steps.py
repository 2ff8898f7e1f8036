"""Chains: the ids of steps that are not accepted yet, and of those that never will be.

A step's id is known from when its chain is enqueued: who waits for it, or cancels it, must hear what
becomes of it at any time before the step itself is accepted.
"""

from __future__ import annotations

from collections.abc import Collection

from actorq.engines.sqlite.queue.entry import Entry
from actorq.engines.sqlite.queue.moment import Moment
from actorq.engines.sqlite.queue.outbox import tell
from actorq.protocol import Ending
from actorq.succession import why_broken


def begin(moment: Moment, task_id: str, chain: Collection[str]) -> None:
    """A task is accepted: what comes after it waits for it."""
    forget = "delete from actorq_steps where task_id = ? and ending is not null"
    moment.execute(forget, (task_id,))  # a dead letter was replayed
    for step in chain:
        moment.execute("delete from actorq_steps where task_id = ?", (step,))
        moment.execute("insert into actorq_steps (task_id, after) values (?, ?)", (step, task_id))


def some_are_broken(moment: Moment) -> bool:
    """Whether any step is remembered that never will be accepted."""
    query = "select 1 from actorq_steps where ending is not null limit 1"
    return moment.execute(query).fetchone() is not None


def go_on(moment: Moment, entry: Entry) -> bool:
    """*entry* has succeeded: whether what comes after it may be enqueued."""
    assert entry.bounds is not None
    for step in entry.bounds.chain:
        _accepted(moment, step)
    return not entry.severed


def break_off(
    moment: Moment,
    entry: Entry,
    message: bytes | str,
    ending: Ending,
    error: Exception | None,
    kept: Collection[str] = (),
) -> None:
    """*entry* did not succeed, or was not to go on: the waiters of its later steps are told."""
    if entry.bounds is None:
        return
    for step in entry.bounds.chain:
        if step in kept:
            continue
        _accepted(moment, step)
        moment.execute("delete from actorq_steps where task_id = ?", (step,))
        query = "insert into actorq_steps (task_id, ending) values (?, ?)"
        moment.execute(query, (step, ending.value))
        cancelled = ending is Ending.CANCELLED
        why = why_broken(entry.name, entry.task_id, error, cancelled=cancelled)
        tell(moment, step, 1, why, entry.alias, message, step=1)
    moment.execute(
        "delete from actorq_steps where ending is not null and seq <= "
        "(select max(seq) from actorq_steps where ending is not null) - ?",
        (moment.law.remember,),
    )


def _accepted(moment: Moment, step: str) -> None:
    query = "delete from actorq_steps where task_id = ? and after is not null"
    moment.execute(query, (step,))
