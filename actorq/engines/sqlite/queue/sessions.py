"""Sessions: which workers hold a lease, until when, and what becomes of their jobs when they end.

Leases are kept on the machine's steady clock: all its processes have that in common, and no leap of the
wall clock moves it.  It begins anew when the machine does, so a session of another boot is over.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import time
from collections.abc import Collection
from typing import Final

from actorq.engines.sqlite.queue import early
from actorq.engines.sqlite.queue.ends import (
    CANCELLED_BETWEEN,
    bury,
    end_unreported,
    expire,
    report,
    take_out,
)
from actorq.engines.sqlite.queue.entry import COLUMNS, Entry
from actorq.engines.sqlite.queue.moment import Moment, rows_of
from actorq.engines.sqlite.queue.outbox import left_behind, take_over
from actorq.engines.sqlite.queue.tables import tasks
from actorq.errors import TaskCancelled, WorkerLost
from actorq.protocol import Ending
from actorq.queue_choice import QueueChoice
from actorq.remote_error import dump_error


_HOST: Final = socket.gethostname()


def open_session(moment: Moment, worker: str, choice: QueueChoice | None) -> int:
    """A new one; the older ones of this worker end."""
    older = "select id from actorq_sessions where worker = ?"
    for (session,) in moment.execute(older, (worker,)).fetchall():
        end_session(moment, session)
    moment.marks.sessions += 1
    session = moment.marks.sessions
    law, now = moment.law, moment.now
    until = now + law.steady_offset + law.lease
    moment.execute(
        "insert into actorq_sessions "
        "(id, worker, peer, pid, host, boot, queues, until, since, beat) "
        "values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(session, worker, law.peer, os.getpid(), _HOST, law.boot, _dumped(choice), until),
            *(now, now),
        ),
    )
    return session


def choice_of(moment: Moment, session: int) -> QueueChoice | None:
    """The queues that it serves."""
    query = "select queues from actorq_sessions where id = ?"
    row = moment.execute(query, (session,)).fetchone()
    if row is None or row[0] is None:
        return None
    plain = json.loads(row[0])
    weights = plain["weights"]
    return QueueChoice(tuple(plain["names"]), None if weights is None else tuple(weights))


def _dumped(choice: QueueChoice | None) -> str | None:
    return None if choice is None else json.dumps(choice._asdict())


def renew(moment: Moment, session: int) -> bool:
    """Its lease begins anew; False if it has ended."""
    until = moment.now + moment.law.steady_offset + moment.law.lease
    query = "update actorq_sessions set until = ?, beat = ? where id = ?"
    return moment.execute(query, (until, moment.now, session)).rowcount > 0


#: Of a machine's earlier life; of a process that died; over, with jobs; over, of a process that is gone.
_OVER: Final = f"""select id from actorq_sessions where boot <> ?
    or peer in (select peer from actorq_peers where died is not null)
    or (until <= ? and exists (select 1 from {tasks("leased")}
        where session = actorq_sessions.id and state = 'leased'))
    or (until <= ? and peer not in (select peer from actorq_peers))"""


def keep_alive(
    connection: sqlite3.Connection, peer: str, steady_offset: float, lease: float
) -> None:
    """Renew the leases of a process that cannot do so itself: its loop stands still (35)."""
    steady = time.monotonic()
    connection.execute(
        "update actorq_sessions set until = ?, beat = ? where peer = ? and exists "
        f"(select 1 from {tasks('leased')} where session = actorq_sessions.id and state = 'leased')",
        (steady + lease, steady - steady_offset, peer),
    )


def lapse(moment: Moment, late: float, dead: Collection[str]) -> None:
    """End the sessions whose lease is over while jobs depended on it, and those of the dead.

    Ours are forgiven first for being *late*: nobody here could renew them (35).  What held us up may
    have held up the file, by a lock that somebody kept; so others that are over for no longer than that
    get the time of one renewal to say that they live.
    """
    law = moment.law
    steady = moment.now + law.steady_offset
    if late:
        query = "update actorq_sessions set until = until + ? where peer = ?"
        moment.execute(query, (late, law.peer))
        query = "update actorq_sessions set until = ? where peer <> ? and until between ? and ?"
        moment.execute(query, (steady + law.lease / 3, law.peer, steady - late, steady))
    over = [session for (session,) in moment.execute(_OVER, (law.boot, steady, steady))]
    if dead:
        # not of those that closed the file in order: a broker that crashed opens it again at once
        query = (
            "select id from actorq_sessions where peer in ({}) "
            "and peer in (select peer from actorq_peers)"
        )
        over += [session for (session,) in rows_of(moment.connection, query, dead)]
    for session in dict.fromkeys(over):
        end_session(moment, session)
    take_over(moment, {*left_behind(moment), *dead} - {law.peer})


def move(moment: Moment, former: str) -> None:
    """What was this object's in its last life is so in this one."""
    for table in ("actorq_sessions", "actorq_outbox"):
        moment.execute(f"update {table} set peer = ? where peer = ?", (moment.law.peer, former))


def peers(connection: sqlite3.Connection) -> set[str]:
    """The storage objects that have sessions, or ends to store."""
    query = "select peer from actorq_sessions union select peer from actorq_outbox"
    return {peer for (peer,) in connection.execute(query)}


def end_session(moment: Moment, session: int) -> None:
    """Its jobs are available to others at once."""
    moment.execute("delete from actorq_sessions where id = ?", (session,))
    moment.marks.lost += 1
    query = (
        f"select {COLUMNS} from {tasks('leased')} "
        "where session = ? and state = 'leased' order by token"
    )
    for row in moment.execute(query, (session,)).fetchall():
        _take_away(moment, Entry(row))
    early.give_up(moment, session)
    moment.law.touch("ends")
    moment.law.touch("tasks")


def _take_away(moment: Moment, entry: Entry) -> None:
    deliveries = entry.attempt - entry.requeues
    give_back(moment, entry)
    if entry.cancelled:
        error = TaskCancelled(CANCELLED_BETWEEN)
        end_unreported(moment, entry, take_out(moment, entry), error, Ending.CANCELLED)
    elif deliveries >= entry.deliveries:
        lost = WorkerLost(
            f"task {entry.task_id} was delivered {deliveries} times and no worker lived to report "
            f"its end"
        )
        message = take_out(moment, entry)
        report(moment, entry, message, lost)
        bury(moment, entry, message, str(lost), dump_error(lost))
    else:
        make_ready(moment, entry)


def give_back(moment: Moment, entry: Entry) -> None:
    """A task runs no more: its permits are others'."""
    if entry.bounds is not None and entry.bounds.permits:
        moment.gates.give_back(entry.bounds, moment.now)


def make_ready(moment: Moment, entry: Entry, *, park: bool = False) -> None:
    """A task that was leased may be claimed again, or once somebody knows it."""
    if entry.has_expired(moment.now):
        expire(moment, entry)
        return
    put(moment, entry, "ready", held="parked" if park else None)


def put(
    moment: Moment, entry: Entry, state: str, *, held: str | None = None, due: float | None = None
) -> None:
    """Out of the lease, into *state*."""
    moment.execute(
        "update actorq_tasks set state = ?, held = ?, due = ?, number = ?, attempt = ?, "
        "failures = ?, requeues = ?, session = null, token = null, since = null where id = ?",
        (
            *(state, held, due, entry.number, entry.attempt, entry.failures, entry.requeues),
            entry.id,
        ),
    )


def release(moment: Moment, task_name: str, queues: Collection[str] | None = None) -> None:
    """Somebody who serves these queues knows this task: what was parked for it may be claimed."""
    query = f"update {tasks('parked')} set held = null where held = 'parked' and name = ?"
    for queue in (None,) if queues is None else queues:
        where, more = ("", ()) if queue is None else (" and queue = ?", (queue,))
        if moment.execute(query + where, (task_name, *more)).rowcount:
            moment.law.touch("tasks")
