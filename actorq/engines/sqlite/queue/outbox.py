"""The outbox: ends that no worker reports, until their results are stored.

Each belongs to the storage object in whose step it came to be; if that is dead, another takes it over.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, Final, NamedTuple

from actorq.engines.sent import read
from actorq.engines.sqlite.queue.moment import Moment, rows_of
from actorq.errors import EnvelopeError
from actorq.message import TaskMessage
from actorq.protocol import Outcome
from actorq.remote_error import dump_error, load_error
from actorq.result import TaskResult
from actorq.wire import Wire


#: Ends that are kept in memory at a time.
MOST: Final = 1_000


class Told(NamedTuple):
    """A row of the outbox."""

    seq: int
    task_id: str
    attempts: int
    error: str
    step: int
    alias: str | None
    message: bytes | str


def tell(
    moment: Moment,
    task_id: str,
    attempts: int,
    error: Exception,
    alias: str | None,
    message: bytes | str,
    step: int = 0,
) -> None:
    """One more."""
    text = json.dumps(dump_error(error))
    moment.execute(
        "insert into actorq_outbox (task_id, peer, attempts, error, step, alias, message) "
        "values (?, ?, ?, ?, ?, ?, ?)",
        (task_id, moment.law.peer, attempts, text, step, alias, message),
    )
    moment.marks.ends += 1


def after(moment: Moment, seq: int, limit: int) -> list[Told]:
    """What this one is to store, the oldest first."""
    query = (
        "select seq, task_id, attempts, error, step, alias, message from actorq_outbox "
        "where peer = ? and seq > ? order by seq limit ?"
    )
    return [Told(*row) for row in moment.execute(query, (moment.law.peer, seq, limit))]


def left_behind(moment: Moment) -> list[str]:
    """Whose ends nobody stores any more: they have closed the file, or died."""
    query = "select peer from actorq_peers where died is null"
    alive = {peer for (peer,) in moment.execute(query)}
    left: list[str] = []
    query = "select peer from actorq_outbox where peer > ? order by peer limit 1"
    found = moment.execute("select min(peer) from actorq_outbox").fetchone()
    while found is not None and found[0] is not None:
        if found[0] not in alive:
            left.append(found[0])
        found = moment.execute(query, found).fetchone()
    return left


def take_over(moment: Moment, peers: Collection[str]) -> None:
    """What these were to store is ours now; renumbered, for who reads on from a number."""
    if not peers:
        return
    query = "select seq from actorq_outbox where peer in ({}) order by seq"
    for (seq,) in list(rows_of(moment.connection, query, peers)):
        moment.execute(
            "insert into actorq_outbox (task_id, peer, attempts, error, step, alias, message) "
            "select task_id, ?, attempts, error, step, alias, message from actorq_outbox "
            "where seq = ?",
            (moment.law.peer, seq),
        )
        moment.execute("delete from actorq_outbox where seq = ?", (seq,))
        moment.marks.ends += 1


def stored(moment: Moment, seqs: Collection[int]) -> None:
    """These are in the result backend."""
    query = "delete from actorq_outbox where seq = ?"
    moment.connection.executemany(query, [(seq,) for seq in seqs])


def outcome(told: Told, wire: Wire) -> Outcome:
    """What the result backend is given.  In Trio's thread."""
    error = load_error(json.loads(told.error))
    message: TaskMessage | None = None
    try:
        owner = None if told.step else told.task_id
        message = read(told.message, owner or told.alias or "", told.alias, wire)
    except EnvelopeError:
        message = None
    if message is not None and told.step:
        later = () if message.terms is None else message.terms.chain
        message = next((each for each in later if each.task_id == told.task_id), None)
    result: TaskResult[Any] = TaskResult(
        is_err=True,
        error=error,
        labels={} if message is None else dict(message.labels),
        attempts=max(told.attempts, 1),
    )
    ttl = None if message is None else message.options.result_ttl
    return Outcome(told.task_id, result, ttl=ttl, message=None if told.step else message)
