"""Looking: what can be seen of the queue."""

from __future__ import annotations

import json
import sqlite3
from typing import Any, Final, NamedTuple

from actorq.engines.counted import statistics_of
from actorq.engines.sent import shown
from actorq.engines.sqlite.queue.moment import Marks, Moment
from actorq.engines.sqlite.queue.outbox import MOST, Told, after, left_behind
from actorq.engines.sqlite.queue.tables import BUSY, CLAIMABLE, EXPIRING, tasks
from actorq.message import Fence
from actorq.protocol import DeadTask, Ending, QueuedTask, QueueStatistics
from actorq.wire import Wire


def locate(connection: sqlite3.Connection, task_id: str) -> str:
    """Where a task is."""
    query = "select coalesce(held, state) from actorq_tasks where task_id = ?"
    row = connection.execute(query, (task_id,)).fetchone()
    if row is not None:
        return str(row[0])
    if _one(connection, "select 1 from actorq_dead where task_id = ?", task_id):
        return "dead"
    if _one(connection, "select 1 from actorq_ended where task_id = ?", task_id):
        return "done"
    query = "select ending from actorq_steps where task_id = ?"
    row = connection.execute(query, (task_id,)).fetchone()
    if row is None:
        return "unknown"
    if row[0] is None:
        return "pending"
    return "dead" if Ending(row[0]) is Ending.DEAD else "done"


def ending_of(connection: sqlite3.Connection, task_id: str) -> Ending | None:
    """How a task ended; None while it is live, or if that is not known."""
    if _one(connection, "select 1 from actorq_dead where task_id = ?", task_id):
        return Ending.DEAD
    for table in ("actorq_ended", "actorq_steps"):
        ending = _one(connection, f"select ending from {table} where task_id = ?", task_id)
        if ending is not None:
            return Ending(ending)
    return None


def _one(connection: sqlite3.Connection, query: str, *arguments: object) -> Any:
    row = connection.execute(query, arguments).fetchone()
    return None if row is None else row[0]


def statistics(connection: sqlite3.Connection) -> QueueStatistics:
    """How many tasks are where."""
    counts = connection.execute("select queue, place, n from actorq_counts")
    query = "select done, dead, refused from actorq_marks"
    done, dead, refused = connection.execute(query).fetchone()
    paused = [q for (q,) in connection.execute("select queue from actorq_paused")]
    return statistics_of(counts, done=done, dead=dead, refused=refused, paused=paused)


def is_parked(connection: sqlite3.Connection, task_name: str) -> bool:
    """Whether a task of this name waits for somebody who knows it."""
    query = f"select 1 from {tasks('parked')} where held = 'parked' and name = ?"
    return bool(_one(connection, query, task_name))


def waiting(connection: sqlite3.Connection, queue: str) -> list[str]:
    """The ids of all that wait in a queue, the first accepted first: every task is looked at."""
    query = "select task_id from actorq_tasks where queue = ? and state <> 'leased' order by id"
    return [task_id for (task_id,) in connection.execute(query, (queue,))]


_DEAD: Final = (
    "select reason, attempts, error, died, message, task_id, alias, name, queue from actorq_dead"
)


def dead_rows(connection: sqlite3.Connection, task_id: str | None) -> list[Any]:
    """One dead letter, or all, the oldest first."""
    if task_id is not None:
        return connection.execute(f"{_DEAD} where task_id = ?", (task_id,)).fetchall()
    return connection.execute(f"{_DEAD} order by seq").fetchall()


def dead_task(row: Any, wire: Wire) -> DeadTask:
    """In Trio's thread."""
    reason, attempts, error, died, data, task_id, alias, name, queue = row
    message = shown(data, task_id, alias, wire, name=name, queue=queue)
    return DeadTask(message, reason, attempts, None if error is None else json.loads(error), died)


def queued_rows(connection: sqlite3.Connection, queue: str | None, limit: int) -> list[Any]:
    """Tasks that have not ended, the first accepted first."""
    columns = "message, task_id, alias, name, queue, coalesce(held, state), attempt"
    where = "" if queue is None else "where queue = :queue"
    query = f"select {columns} from actorq_tasks {where} order by id limit :limit"
    return connection.execute(query, {"queue": queue, "limit": limit}).fetchall()


def queued_task(row: Any, wire: Wire) -> QueuedTask:
    """In Trio's thread."""
    data, task_id, alias, name, queue, where, attempts = row
    return QueuedTask(shown(data, task_id, alias, wire, name=name, queue=queue), where, attempts)


# --- what a broker answers from without asking the storage ---


class Seen(NamedTuple):
    """What a broker object has seen of what it need not read again."""

    sessions: tuple[int, int] = (-1, -1)  #: how many were opened and have ended
    notices: int = -1
    parked: int = -1
    outbox: int = 0  #: the last number
    room: int = MOST  #: for more of it


class View(NamedTuple):
    """How things were at the end of a step."""

    claimable: bool
    leased: bool
    orphaned: bool  #: processes have died and left something
    due: float | None
    marks: Marks
    good: frozenset[int] | None  #: our sessions; None: as they were
    notices: tuple[tuple[int, Fence], ...] | None  #: for our sessions; None: as they were
    parked: frozenset[str] | None  #: names that are parked; None: as they were
    outbox: tuple[Told, ...]  #: what is new there


#: One look-up each, however many tasks there are.
_VIEW: Final = f"""select
    exists (select 1 from {tasks("claimable")} where {CLAIMABLE}),
    exists (select 1 from actorq_paused),
    exists (select 1 from {tasks("leased")} where state = 'leased'),
    exists (select 1 from actorq_sessions
        where peer in (select peer from actorq_peers where died is not null)),
    exists (select 1 from actorq_outbox where peer < :peer)
    or exists (select 1 from actorq_outbox where peer > :peer),
    (select min(due) from {tasks("scheduled")} where state = 'scheduled'),
    (select min(expires) from {tasks("expiring")} where {EXPIRING})"""
_UNPAUSED: Final = f"""select exists (select 1 from actorq_counts indexed by actorq_counts_busy
    where {BUSY} and queue not in (select queue from actorq_paused))"""
_NOTICES: Final = f"""select session, task_id, attempt, token from {tasks("cancelled")}
    where cancelled = 1 and session in (select id from actorq_sessions where peer = ?)"""


def look(moment: Moment, seen: Seen) -> View:
    """How things are now."""
    peer = moment.law.peer
    row = moment.execute(_VIEW, {"peer": peer}).fetchone()
    claimable, paused, leased, orphaned, others, *dues = row
    if claimable and paused:
        (claimable,) = moment.execute(_UNPAUSED).fetchone()
    dues.append(moment.gates.next_wake())
    marks = moment.marks
    good: frozenset[int] | None = None
    notices: tuple[tuple[int, Fence], ...] | None = None
    if seen.sessions != (marks.sessions, marks.lost):
        query = "select id from actorq_sessions where peer = ?"
        good = frozenset([session for (session,) in moment.execute(query, (peer,))])
    if seen.notices != marks.notices:
        notices = tuple(
            [(session, Fence(*fence)) for session, *fence in moment.execute(_NOTICES, (peer,))]
        )
    parked = _parked(moment) if seen.parked != marks.parked else None
    return View(
        claimable=bool(claimable),
        leased=bool(leased),
        orphaned=bool(orphaned or (others and left_behind(moment))),
        due=min([due for due in dues if due is not None], default=None),
        marks=marks,
        good=good,
        notices=notices,
        parked=parked,
        outbox=tuple(after(moment, seen.outbox, seen.room)) if seen.room else (),
    )


def _parked(moment: Moment) -> frozenset[str]:
    """One look-up for each name, however many tasks there are of it."""
    names: list[str] = []
    query = (
        f"select name from {tasks('parked')} where held = 'parked' and name > ? "
        "order by name limit 1"
    )
    while found := moment.execute(query, (names[-1] if names else "",)).fetchone():
        names.append(found[0])
    return frozenset(names)
