"""Claiming: ready tasks are leased to a session, queue by queue as it has chosen.

Of each queue the highest priority first, then the oldest; those that limits hold back are passed over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple

from actorq.engines.memory.lease import Turns
from actorq.engines.sqlite.queue.ends import expire
from actorq.engines.sqlite.queue.entry import COLUMNS, Entry
from actorq.engines.sqlite.queue.moment import Moment
from actorq.engines.sqlite.queue.sessions import release, renew
from actorq.engines.sqlite.queue.tables import BUSY, CLAIMABLE, tasks


class Claimed(NamedTuple):
    """A delivery whose message is not read yet."""

    task_id: str
    attempt: int
    token: int
    failures: int
    alias: str | None
    message: bytes | str


class Found(NamedTuple):
    """What a claim has found."""

    claimed: Sequence[Claimed] = ()
    more: bool = False  #: it was broken off: there may be more, behind those that limits hold back


#: Tasks that one step finds held back, at most: no step takes long, and others want to write, too.
HELD_BACK: Final = 1_000

#: The queues that have work to give.
_BUSY: Final = (
    f"select queue from actorq_counts indexed by actorq_counts_busy where {BUSY} "
    "and queue not in (select queue from actorq_paused)"
)
_NEXT: Final = (
    "select id, task_id, attempt, failures, alias, message, expires is not null or terms is not null "
    f"from {tasks('claimable')} where queue = ? and {CLAIMABLE} order by priority desc, number limit ?"
)
_LEASE: Final = (
    "update actorq_tasks set state = 'leased', attempt = attempt + 1, session = ?, token = ?, "
    "since = ? where id = ?"
)


def claim(
    moment: Moment, session: int, limit: int, turns: Turns, known: Collection[str] = ()
) -> Found:
    """Lease at most *limit* tasks; nothing if the session has ended.

    What is parked for the names that are *known* here is released in the same step, or a worker that
    does not know them might be the first to get it again.
    """
    good = "select 1 from actorq_sessions where id = ?"
    if moment.execute(good, (session,)).fetchone() is None:
        return Found()
    names = None if turns.choice is None else turns.choice.names
    for name in known:
        release(moment, name, names)
    found = _Claim(moment, session, limit, turns).all()
    if found.claimed:
        renew(moment, session)
    return found


class _Claim:
    """One claim: what it has found, and where it looks."""

    def __init__(self, moment: Moment, session: int, limit: int, turns: Turns) -> None:
        self._moment = moment
        self._session = session
        self._limit = limit
        self._turns = turns
        self._found: list[Claimed] = []
        self._leases: list[tuple[int, int, float, int]] = []  #: found, and not written yet
        self._heads: dict[str, deque[Any]] = {}  #: what was read of each queue, and not used yet
        self._held_back = 0

    def all(self) -> Found:
        """Until there are enough, or no more."""
        busy = self._busy()
        offers = self._moment.gates.offers
        while busy and len(self._found) < self._limit and self._held_back < HELD_BACK:
            name = self._turns.next(busy)
            if name is None:
                break
            if not self._take_from(name, len(busy)):
                self._turns.unused(name)
                busy.remove(name)
            if self._moment.gates.offers != offers:  # held ones are back, in whichever queue
                offers = self._moment.gates.offers
                self._write()
                self._heads.clear()
                busy = self._busy()
        self._write()
        return Found(self._found, self._held_back >= HELD_BACK)

    def _busy(self) -> list[str]:
        return [name for (name,) in self._moment.execute(_BUSY) if self._turns.serves(name)]

    def _take_from(self, name: str, busy: int) -> bool:
        """The next of a queue; False if it has no more, or some are back that may come before."""
        gates = self._moment.gates
        while True:
            heads = self._heads.get(name)
            if not heads:
                heads = self._read(name, busy)
                if not heads:
                    return False
            row = heads.popleft()
            offers = gates.offers
            if row[6] and not self._may_start(row[0]):
                self._held_back += 1
                if gates.offers != offers or self._held_back >= HELD_BACK:
                    return True  # it had its turn, in a way
                continue
            self._lease(row)
            return True

    def _read(self, name: str, busy: int) -> deque[Any]:
        self._write()
        missing = self._limit - len(self._found)
        some = missing if busy == 1 else -(-missing // busy) + 1
        heads = deque(self._moment.execute(_NEXT, (name, some)))
        self._heads[name] = heads
        return heads

    def _may_start(self, row_id: int) -> bool:
        moment = self._moment
        query = f"select {COLUMNS} from actorq_tasks where id = ?"
        entry = Entry(moment.execute(query, (row_id,)).fetchone())
        if entry.has_expired(moment.now):
            expire(moment, entry)
            return False
        bounds = entry.bounds
        if bounds is not None:
            if not moment.gates.admit(entry, bounds, moment.now):
                return False
            if bounds.unique is not None:
                moment.keys.started(bounds.unique, entry.task_id)
        return True

    def _lease(self, row: Any) -> None:
        row_id, task_id, attempt, failures, alias, message, _ = row
        marks = self._moment.marks
        marks.tokens += 1
        self._leases.append((self._session, marks.tokens, self._moment.now, row_id))
        self._found.append(Claimed(task_id, attempt + 1, marks.tokens, failures, alias, message))

    def _write(self) -> None:
        if self._leases:
            self._moment.connection.executemany(_LEASE, self._leases)
            self._leases.clear()
