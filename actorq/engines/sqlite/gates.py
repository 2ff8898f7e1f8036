"""Gates in the file: which ready tasks may start now, by their concurrency limits and rates.

The same as `actorq.engines.memory.admission`, as tables: each key of a limit is a gate; a task that it
refuses is *held* there, the highest priority first, then the oldest; when the gate has room, just as
many as it has room for are *offered* it, and may be claimed again.

Who waits at a gate, and who has an offer of it, are columns of `actorq_tasks` with an index each: a task
that ends has left the crowd by that, and a key with a million waiting costs the others nothing.

The invariant by which nobody is forgotten: while tasks wait at a gate, all its room is used or offered,
or an alarm is set for when it has some.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

import attrs

from actorq.engines.sent import Bounds
from actorq.engines.sqlite.queue.entry import Entry
from actorq.limits import Pace, Permit


TABLES: Final[tuple[str, ...]] = (
    "create index actorq_tasks_waiting on actorq_tasks (gate, queue, priority desc, number) "
    "where gate is not null",
    "create index actorq_tasks_offered on actorq_tasks (offer, queue) where offer is not null",
    # concurrency limits of which somebody has a permit
    """create table actorq_permits (
        key text primary key,
        running integer not null
    ) without rowid""",
    # rates of which somebody had a turn
    """create table actorq_paces (
        key text primary key,
        last integer not null default 0, -- number of the latest start
        most integer not null default 1, -- starts that matter, as far as is known
        longest real not null default 0, -- period, likewise: seconds
        until real not null default 0,   -- when none of its starts matters any more: Unix seconds
        alarm real                       -- when it has room again, if somebody waits for that
    ) without rowid""",
    "create index actorq_paces_alarms on actorq_paces (alarm) where alarm is not null",
    "create index actorq_paces_idle on actorq_paces (until) where alarm is null",
    # its latest starts, as many as matter
    """create table actorq_starts (
        key text not null,
        number integer not null,
        at real not null, -- Unix seconds
        primary key (key, number)
    ) without rowid""",
)

#: Seconds for which a rate is known after its last start has ceased to matter: a call with a longer
#: period may come.
KEPT: Final = 3600.0
#: Such that each new one sweeps out: more than come.
SWEPT: Final = 4
#: Heads of a crowd that are looked at together.
MANY: Final = 32

_HOLD = "update actorq_tasks set held = ?, gate = ?, offer = null where id = ?"
_OFFER = "update actorq_tasks set held = null, gate = null, offer = ? where id = ?"
_TAKEN = "update actorq_tasks set offer = null where id = ?"
_CROWDS = "select queue from actorq_tasks where gate = ? and queue > ? order by queue limit 1"
_CROWD = (
    "select id, terms from actorq_tasks where gate = ? and queue = ? "
    "order by priority desc, number limit ?"
)
_OFFERED = "select count(*) from actorq_tasks where offer = ? and queue = ?"
_RUNNING = "select running from actorq_permits where key = ?"
_RUN = (
    "insert into actorq_permits (key, running) values (?, 1) "
    "on conflict do update set running = running + 1"
)
_STOP = "update actorq_permits set running = running - 1 where key = ? returning running"
_IDLE = "delete from actorq_permits where key = ?"
_PACE = "select last, most, longest, alarm from actorq_paces where key = ?"
_STARTED = (
    "insert into actorq_paces (key, last, most, longest, until) values (?, ?, ?, ?, ?) on conflict "
    "do update set last = excluded.last, most = excluded.most, longest = excluded.longest, "
    "until = excluded.until"
)
_START = "insert into actorq_starts (key, number, at) values (?, ?, ?)"
_START_AT = "select at from actorq_starts where key = ? and number = ?"
_FORGET = "delete from actorq_starts where key = ? and number <= ?"
_OLDEST = "select number, at from actorq_starts where key = ? order by number limit 1"
_ALARM = "update actorq_paces set alarm = ? where key = ?"
_DUE = "select key from actorq_paces where alarm <= ? order by alarm"
_NEXT = (
    "select alarm from actorq_paces where alarm is not null and exists "
    "(select 1 from actorq_tasks where gate = 'pace ' || key) order by alarm limit 1"
)
_UNUSED = (
    f"select key from actorq_paces where until <= ? and alarm is null order by until limit {SWEPT}"
)
_WANTED = (
    "select exists (select 1 from actorq_tasks where gate = ?) "
    "or exists (select 1 from actorq_tasks where offer = ?)"
)
_KEEP = "update actorq_paces set until = ? where key = ?"
_DROP = ("delete from actorq_starts where key = ?", "delete from actorq_paces where key = ?")


@attrs.define
class PermitGate:
    """A concurrency limit, as it is at this moment."""

    key: str
    running: int

    why = "limited"

    @property
    def name(self) -> str:
        """As tasks at it are marked."""
        return f"permit {self.key}"

    def has_room(self, bounds: Bounds, used: int, now: float) -> bool:  # noqa: ARG002
        """Whether one with *bounds* may start when *used* others do."""
        limit = min([permit.limit for permit in bounds.permits if permit.key == self.key])
        return limit - self.running > used


@attrs.define
class PaceGate:
    """A rate, or several over the same starts, as it is at this moment."""

    connection: sqlite3.Connection
    key: str
    last: int = 0
    most: int = 1
    longest: float = 0.0
    alarm: float | None = None

    why = "paced"

    @property
    def name(self) -> str:
        """As tasks at it are marked."""
        return f"pace {self.key}"

    def has_room(self, bounds: Bounds, used: int, now: float) -> bool:
        """Whether one with *bounds* may start when *used* others do."""
        return all(self.free(pace, used, now) for pace in bounds.paces if pace.key == self.key)

    def free(self, pace: Pace, used: int, now: float) -> bool:
        """Whether one may start at this rate when *used* others do."""
        if pace.smooth:
            last = self._start(self.last)
            return used == 0 and (last is None or last + pace.period / pace.starts <= now)
        if used >= pace.starts:
            return False
        hinders = self._start(self.last - pace.starts + used + 1)
        return hinders is None or hinders + pace.period <= now

    def next_free(self, bounds: Bounds) -> float:
        """When the next with *bounds* may start, if none may now."""
        due = -math.inf
        for pace in bounds.paces:
            if pace.key == self.key:
                number = self.last if pace.smooth else self.last - pace.starts + 1
                start = self._start(number)
                if start is not None:
                    apart = pace.period / pace.starts if pace.smooth else pace.period
                    due = max(due, start + apart)
        return due

    def start(self, paces: Sequence[Pace], now: float) -> None:
        """One has started that brought these."""
        for pace in paces:
            if pace.key == self.key:
                self.longest = max(self.longest, pace.period)
                if not pace.smooth:
                    self.most = max(self.most, pace.starts)
        self.last += 1
        until = now + self.longest
        write = self.connection.execute
        write(_STARTED, (self.key, self.last, self.most, self.longest, until))
        write(_START, (self.key, self.last, now))
        write(_FORGET, (self.key, self.last - self.most))
        oldest = write(_OLDEST, (self.key,)).fetchone()
        while oldest is not None and oldest[1] + self.longest <= now:
            write(_FORGET, (self.key, oldest[0]))
            oldest = write(_OLDEST, (self.key,)).fetchone()

    def ring(self, due: float | None) -> None:
        """Set the alarm, or take it back."""
        self.alarm = due
        self.connection.execute(_ALARM, (due, self.key))

    def _start(self, number: int) -> float | None:
        found = self.connection.execute(_START_AT, (self.key, number)).fetchone()
        return None if found is None else float(found[0])


Gate: TypeAlias = PermitGate | PaceGate


@attrs.define(eq=False)
class Gates:
    """All gates; for the steps of one transaction."""

    connection: sqlite3.Connection
    offers: int = 0  #: held tasks that may be claimed again: when it grows, look again

    def admit(self, entry: Entry, bounds: Bounds, now: float) -> bool:
        """Whether *entry* may start.  If so it has started; else it is held, and waits."""
        for permit in bounds.permits:
            gate = self._permit(permit.key)
            if gate.running >= permit.limit:
                self._hold(entry, gate, now)
                return False
        for pace in bounds.paces:
            pacer = self._pacer(pace.key)
            if not pacer.free(pace, 0, now):
                self._hold(entry, pacer, now)
                return False
        self._withdrawn(entry)  # its gate is one of these: what was offered is now used
        for key in _keys(bounds.permits):
            self.connection.execute(_RUN, (key,))
        for key in _keys(bounds.paces):
            pacer = self._pacer(key)
            if not pacer.last:
                self._sweep(now)
            pacer.start(bounds.paces, now)
            self._look_at(pacer, now)
        return True

    def give_back(self, bounds: Bounds, now: float) -> None:
        """A task that had started runs no more."""
        for key in _keys(bounds.permits):
            found = self.connection.execute(_STOP, (key,)).fetchall()
            running = found[0][0] if found else 0
            if running <= 0:
                self.connection.execute(_IDLE, (key,))
            self._look_at(PermitGate(key, max(0, running)), now)

    def withdraw(self, entry: Entry, now: float) -> None:
        """*entry* leaves: an offer that it has not used is somebody else's."""
        touched = self._withdrawn(entry)
        if touched is not None:
            self._look_at(self._named(touched), now)

    def wake(self, now: float) -> None:
        """Give the turns that have come by time."""
        for (key,) in self.connection.execute(_DUE, (now,)).fetchall():
            gate = self._pacer(key)
            gate.ring(None)
            self._look_at(gate, now)

    def next_wake(self) -> float | None:
        """When `wake` has something to do; None while nobody waits for the time.  Only looks."""
        found = self.connection.execute(_NEXT).fetchone()
        return None if found is None else float(found[0])

    def _withdrawn(self, entry: Entry) -> str | None:
        offer: str | None = entry.offer
        entry.offer = None
        if offer is not None:
            self.connection.execute(_TAKEN, (entry.id,))
        return offer

    def _hold(self, entry: Entry, gate: Gate, now: float) -> None:
        touched, entry.offer = entry.offer, None
        entry.held, entry.gate = gate.why, gate.name
        self.connection.execute(_HOLD, (gate.why, gate.name, entry.id))
        self._look_at(gate, now)
        if touched is not None and touched != gate.name:
            self._look_at(self._named(touched), now)

    def _look_at(self, gate: Gate, now: float) -> None:
        """Offer the room there is to those who wait for it; set the alarm if time gives some."""
        for queue in self._crowds(gate.name):
            self._look_at_crowd(gate, queue, now)

    def _look_at_crowd(self, gate: Gate, queue: str, now: float) -> None:
        (offered,) = self.connection.execute(_OFFERED, (gate.name, queue)).fetchone()
        few = 1
        while heads := self.connection.execute(_CROWD, (gate.name, queue, few)).fetchall():
            few = MANY
            for row, terms in heads:
                bounds = Bounds.load(terms)
                if not gate.has_room(bounds, offered, now):
                    if isinstance(gate, PaceGate) and not offered:
                        due = gate.next_free(bounds)
                        if gate.alarm is None or due < gate.alarm:
                            gate.ring(due)
                    return
                offered += 1
                self.offers += 1
                self.connection.execute(_OFFER, (gate.name, row))

    def _crowds(self, gate: str) -> Iterator[str]:
        """The queues of those who wait at it."""
        queue = ""
        while found := self.connection.execute(_CROWDS, (gate, queue)).fetchone():
            (queue,) = found
            yield queue

    def _named(self, name: str) -> Gate:
        kind, _, key = name.partition(" ")
        return self._permit(key) if kind == "permit" else self._pacer(key)

    def _permit(self, key: str) -> PermitGate:
        found = self.connection.execute(_RUNNING, (key,)).fetchone()
        return PermitGate(key, 0 if found is None else found[0])

    def _pacer(self, key: str) -> PaceGate:
        found = self.connection.execute(_PACE, (key,)).fetchone()
        return PaceGate(self.connection, key, *(found or ()))

    def _sweep(self, now: float) -> None:
        """Forget rates that nobody has had a turn of for long."""
        for (key,) in self.connection.execute(_UNUSED, (now - KEPT,)).fetchall():
            name = f"pace {key}"
            if self.connection.execute(_WANTED, (name, name)).fetchone()[0]:
                self.connection.execute(_KEEP, (now, key))
            else:
                for forget in _DROP:
                    self.connection.execute(forget, (key,))


def _keys(limits: Sequence[Permit] | Sequence[Pace]) -> list[str]:
    """Each once: a call that has two limits of one key is one run and one start."""
    return list(dict.fromkeys([limit.key for limit in limits]))
