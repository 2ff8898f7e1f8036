"""How tasks end: out of the table, remembered, buried, told.

A task that leaves the table in a step is somewhere else at the end of it (promise 30).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from actorq.engines.sqlite.queue.entry import Entry
from actorq.engines.sqlite.queue.moment import Moment
from actorq.engines.sqlite.queue.outbox import tell
from actorq.engines.sqlite.queue.steps import break_off
from actorq.errors import ActorqError, TaskCancelled, TaskExpired
from actorq.protocol import Ending
from actorq.remote_error import load_error


CANCELLED_BETWEEN = "the task was cancelled"

#: Places beyond those remembered before they are taken out: in one go, not one by one.
_SLACK = 256


def take_out(moment: Moment, entry: Entry) -> bytes | str:
    """Out of the table, to nowhere yet; its message."""
    query = "delete from actorq_tasks where id = ? returning message"
    ((message,),) = moment.execute(query, (entry.id,)).fetchall()
    if entry.offer is not None and entry.state == "ready":
        moment.gates.withdraw(entry, moment.now)
    return message  # type: ignore[no-any-return]


def end(
    moment: Moment,
    entry: Entry,
    message: bytes | str,
    ending: Ending,
    error: Exception | None = None,
) -> None:
    """It has ended."""
    moment.marks.done += 1
    remember(moment, (entry.task_id,), ending)
    bounds = entry.bounds
    if bounds is None:
        return
    if bounds.unique is not None:
        moment.keys.ended(bounds.unique, entry.task_id)
    if ending is not Ending.DONE and bounds.chain:
        break_off(moment, entry, message, ending, error)


def end_unreported(
    moment: Moment, entry: Entry, message: bytes | str, error: Exception, ending: Ending
) -> None:
    """It has ended, and no worker says so."""
    report(moment, entry, message, error)
    end(moment, entry, message, ending, error)


def bury(
    moment: Moment,
    entry: Entry,
    message: bytes | str,
    reason: str,
    error: dict[str, Any] | None,
) -> None:
    """To the dead letters; the oldest goes if there are too many."""
    text = None if error is None else json.dumps(error)
    moment.execute(
        "insert into actorq_dead "
        "(task_id, name, queue, reason, attempts, error, died, alias, message) "
        "values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(entry.task_id, entry.name, entry.queue, reason, entry.attempt, text, moment.now),
            *(entry.alias, message),
        ),
    )
    moment.marks.dead += 1
    if moment.marks.dead > moment.law.keep_dead:
        moment.execute(
            "delete from actorq_dead where seq = (select seq from actorq_dead order by seq limit 1)"
        )
        moment.marks.dead -= 1
    bounds = entry.bounds
    if bounds is None:
        return
    if bounds.unique is not None:
        moment.keys.ended(bounds.unique, entry.task_id)
    if bounds.chain:
        why = ActorqError(reason) if error is None else load_error(error)
        break_off(moment, entry, message, Ending.DEAD, why)


def report(moment: Moment, entry: Entry, message: bytes | str, error: Exception) -> None:
    """No worker will store this task's end: leave it for the broker to store."""
    tell(moment, entry.task_id, entry.attempt, error, entry.alias, message)


def remember(moment: Moment, task_ids: Sequence[str], ending: Ending) -> None:
    """They count as accepted still: sending them again is harmless."""
    if not task_ids:
        return
    connection = moment.connection
    query = "insert or ignore into actorq_ended (task_id, ending) values (?, ?)"
    value = ending.value
    connection.executemany(query, [(task_id, value) for task_id in task_ids])
    before = moment.marks.done // _SLACK
    if (moment.marks.done + len(task_ids)) // _SLACK != before:
        connection.execute(
            "delete from actorq_ended where seq <= (select max(seq) from actorq_ended) - ?",
            (moment.law.remember,),
        )


def expire(moment: Moment, entry: Entry) -> None:
    """Its time to start went by."""
    error = TaskExpired(f"task {entry.task_id} had not begun when its time to start went by")
    end_unreported(moment, entry, take_out(moment, entry), error, Ending.EXPIRED)


def call_off(moment: Moment, entry: Entry, why: str) -> None:
    """Cancel a task that waits."""
    message = take_out(moment, entry)
    end_unreported(moment, entry, message, TaskCancelled(why), Ending.CANCELLED)


def ask_to_cancel(moment: Moment, entry: Entry) -> None:
    """A task that runs: its worker hears of it."""
    if not entry.cancelled:
        moment.execute("update actorq_tasks set cancelled = 1 where id = ?", (entry.id,))
        moment.marks.notices += 1
        moment.law.touch("ends")


def forget_dead(moment: Moment, task_ids: Iterable[str]) -> int:
    """Dead letters go, and are remembered; how many there were."""
    gone = 0
    for task_id in task_ids:
        if moment.execute("delete from actorq_dead where task_id = ?", (task_id,)).rowcount:
            gone += 1
            moment.marks.dead -= 1
            remember(moment, (task_id,), Ending.DEAD)
    return gone
