"""What is asked of the queue: cancelling, purging, replaying, releasing, pausing; and what time does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from actorq.engines.sent import Sent
from actorq.engines.sqlite.queue.accepting import accept, entry_of
from actorq.engines.sqlite.queue.ends import ask_to_cancel, call_off, expire, forget_dead
from actorq.engines.sqlite.queue.entry import COLUMNS, Entry
from actorq.engines.sqlite.queue.looking import ending_of
from actorq.engines.sqlite.queue.moment import Moment
from actorq.engines.sqlite.queue.tables import EXPIRING, tasks
from actorq.protocol import Ending


#: Tasks that one step ends or begins, at most: others want to write, too.
SLICE: Final = 500

_OVER: Final = (
    f"select {COLUMNS} from {tasks('expiring')} where {EXPIRING} and expires <= ? "
    "order by expires, id limit ?"
)
_DUE: Final = (
    f"select id from {tasks('scheduled')} where state = 'scheduled' and due <= ? "
    "order by due, number limit ?"
)


def revoke(moment: Moment, task_id: str) -> bool | None:
    """Cancel a task: at once if it waits; through its worker if it runs."""
    entry = entry_of(moment, task_id)
    if entry is None:
        entry = _sever(moment, task_id)
    if entry is None:
        return ending_of(moment.connection, task_id) is Ending.CANCELLED  # asked again, perhaps
    if entry.state == "leased":
        ask_to_cancel(moment, entry)
        return None
    when = "between two attempts" if entry.failures else "before it began"
    call_off(moment, entry, f"task {entry.task_id} was cancelled {when}")
    return True


def _sever(moment: Moment, task_id: str) -> Entry | None:
    """A later step: its chain ends where it is.  Who it waits for."""
    query = "select after from actorq_steps where task_id = ? and after is not null"
    found = moment.execute(query, (task_id,)).fetchone()
    entry = None if found is None else entry_of(moment, found[0])
    if entry is not None:
        moment.execute("update actorq_tasks set severed = 1 where id = ?", (entry.id,))
        entry.severed = 1
    return entry


def purge(moment: Moment, queue: str, task_ids: Sequence[str]) -> int:
    """Cancel those of them that wait in a queue still; how many."""
    gone = 0
    for task_id in task_ids:
        entry = entry_of(moment, task_id)
        if entry is not None and entry.state != "leased" and entry.queue == queue:
            call_off(moment, entry, f"queue {queue!r} was purged before the task began")
            gone += 1
    return gone


def replay(moment: Moment, pairs: Sequence[tuple[str, Sent]]) -> tuple[str | None, ...]:
    """Each dead letter goes, and its message is enqueued; None where there is none (any more)."""
    is_dead = "select 1 from actorq_dead where task_id = ?"
    there = [moment.execute(is_dead, (task_id,)).fetchone() is not None for task_id, _ in pairs]
    known = [sent for is_there, (_, sent) in zip(there, pairs, strict=True) if is_there]
    ids = iter((accept(moment, known) if known else None) or [sent.task_id for sent in known])
    forget_dead(moment, [i for is_there, (i, _) in zip(there, pairs, strict=True) if is_there])
    return tuple([next(ids) if is_there else None for is_there in there])


def purge_dead(moment: Moment, task_ids: Sequence[str] | None) -> int:
    """Forget dead letters; how many there were."""
    if task_ids is None:
        query = "select task_id from actorq_dead order by seq"
        task_ids = [task_id for (task_id,) in moment.execute(query).fetchall()]
    return forget_dead(moment, task_ids)


def set_paused(moment: Moment, queue: str, *, paused: bool) -> None:
    """Give nothing of a queue to workers any more, or do so again."""
    if paused:
        moment.execute("insert or ignore into actorq_paused (queue) values (?)", (queue,))
    else:
        moment.execute("delete from actorq_paused where queue = ?", (queue,))
    moment.law.touch("tasks")


def promote(moment: Moment) -> bool:
    """Do some of what the time does: begin what is due, end what has expired, give turns.

    Whether there may be more.
    """
    now = moment.now
    over = moment.execute(_OVER, (now, SLICE)).fetchall()
    for row in over:
        expire(moment, Entry(row))
    due = moment.execute(_DUE, (now, SLICE)).fetchall()
    if due:
        begin = "update actorq_tasks set state = 'ready', due = null, number = ? where id = ?"
        rows = [(moment.next_number(), row) for (row,) in due]
        moment.connection.executemany(begin, rows)
        moment.law.touch("tasks")
    moment.gates.wake(now)
    if moment.gates.offers:
        moment.law.touch("tasks")
    return len(over) == SLICE or len(due) == SLICE
