"""Admission: which ready tasks may start now, by their concurrency limits and rates (pure).

Owned by the queue core.  Each key of a limit is a *gate*.  A task that a gate refuses leaves its lane
and waits there, the highest priority first, then the oldest.  When the gate has room again, just as many
as it has room for are *offered* it: they go back to their lanes, with their age, and are asked again
when they are claimed.  So a key with a million waiting costs the others nothing.

The invariant by which nobody is forgotten: while tasks wait at a gate, all its room is used or offered,
or an alarm is set for when it has some.  Whoever gives room back, uses it up, or leaves with an offer
unused has the gate looked at again.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence

import attrs

from actorq.engines.memory.entry import Entry, Held, State
from actorq.limits import Pace, Permit
from actorq.message import Terms


class Crowd:
    """Who waits at one gate for workers of one line, and how many of them have an offer.

    Apart by line, or a task that no worker serves would keep others from the room it was offered.
    """

    __slots__ = ("gate", "offered", "places", "sweep_at", "waiting")

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.waiting: list[tuple[int, int, int, Entry]] = []  #: heap
        self.offered = 0
        self.places = 0
        self.sweep_at = 64  #: places that are kept before those that have ended are looked for

    def add(self, entry: Entry) -> None:
        """Let *entry* wait."""
        entry.held = self.gate.why
        self.places += 1
        if len(self.waiting) >= self.sweep_at:
            self.waiting = [place for place in self.waiting if place[3].state is State.READY]
            heapq.heapify(self.waiting)
            self.sweep_at = max(64, 2 * len(self.waiting))
        place = (-entry.message.options.priority, entry.number, self.places, entry)
        heapq.heappush(self.waiting, place)

    def head(self) -> Entry | None:
        """Who is next; those who have ended meanwhile are dropped."""
        while self.waiting:
            entry = self.waiting[0][3]
            if entry.state is State.READY:
                return entry
            heapq.heappop(self.waiting)
        return None


class Gate:
    """One key."""

    __slots__ = ("crowds", "key")

    why: Held

    def __init__(self, key: str) -> None:
        self.key = key
        self.crowds: dict[str, Crowd] = {}  #: by the name of the line

    def room(self, entry: Entry, now: float) -> int:
        """How many like *entry* may start now."""
        raise NotImplementedError

    def add(self, entry: Entry) -> None:
        """Let *entry* wait."""
        crowd = self.crowds.get(entry.line.name)
        if crowd is None:
            crowd = self.crowds[entry.line.name] = Crowd(self)
        crowd.add(entry)

    def is_idle(self, now: float) -> bool:
        """Whether nothing is known of it that a new gate would not know."""
        raise NotImplementedError


class PermitGate(Gate):
    """A concurrency limit."""

    __slots__ = ("running",)

    why = Held.LIMITED

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.running = 0

    def room(self, entry: Entry, now: float) -> int:  # noqa: ARG002
        """By the limit that *entry* itself brought; the lowest, if it brought several."""
        terms = entry.message.terms
        assert terms is not None
        return min([each.limit for each in terms.permits if each.key == self.key]) - self.running

    def is_idle(self, now: float) -> bool:  # noqa: ARG002
        """Nothing runs, nothing waits."""
        return not (self.running or self.crowds)


class PaceGate(Gate):
    """A rate; or several, such as ten in a second and a hundred in a minute, over the same starts."""

    __slots__ = ("alarm", "longest", "most", "starts", "until")

    why = Held.PACED

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.starts: deque[float] = deque()  #: as many as matter
        self.most = 1  #: that matter, as far as is known
        self.longest = 0.0  #: period, likewise
        self.until = 0.0  #: when none of them matters any more
        self.alarm: float | None = None

    def room(self, entry: Entry, now: float) -> int:
        """By the rates that *entry* itself brought."""
        return min([self.free(pace, now) for pace in self._paces(entry)])

    def free(self, pace: Pace, now: float) -> int:
        """How many may start now."""
        if pace.smooth:
            return int(not self.starts or self.starts[-1] + pace.period / pace.starts <= now)
        over = 0
        if self.starts and self.starts[0] + pace.period <= now:
            over = bisect_right(self.starts, now, key=lambda start: start + pace.period)
        return pace.starts - len(self.starts) + over

    def next_free(self, entry: Entry) -> float:
        """When the next like *entry* may start, if none may now."""
        due = -math.inf
        for pace in self._paces(entry):
            if pace.smooth:
                due = max(due, self.starts[-1] + pace.period / pace.starts)
            elif len(self.starts) >= pace.starts:
                due = max(due, self.starts[-pace.starts] + pace.period)
        return due

    def start(self, paces: Sequence[Pace], now: float) -> None:
        """One has started that brought these."""
        for pace in paces:
            if pace.key == self.key:
                self.longest = max(self.longest, pace.period)
                if not pace.smooth:
                    self.most = max(self.most, pace.starts)
        starts = self.starts
        starts.append(now)
        while len(starts) > self.most or starts[0] + self.longest <= now:
            starts.popleft()
        self.until = now + self.longest

    def _paces(self, entry: Entry) -> list[Pace]:
        terms = entry.message.terms
        assert terms is not None
        return [each for each in terms.paces if each.key == self.key]

    def is_idle(self, now: float) -> bool:
        """Nothing started lately, nothing waits."""
        return now >= self.until and not self.crowds


@attrs.define(eq=False)
class Admission:
    """All gates."""

    offer: Callable[[Entry], None]  #: puts a held task back into its lane
    permits: dict[str, PermitGate] = attrs.field(factory=dict)
    paces: dict[str, PaceGate] = attrs.field(factory=dict)
    alarms: list[tuple[float, int, PaceGate]] = attrs.field(factory=list)  #: heap
    _alarms_set: int = 0
    _sweep_at: int = 1024  #: paces that are kept before idle ones are looked for

    def admit(self, entry: Entry, terms: Terms, now: float) -> bool:
        """Whether *entry* may start.  If so it has started; else it is held, and waits here."""
        for permit in terms.permits:
            gate = self.permits.get(permit.key)
            if gate is not None and gate.running >= permit.limit:
                self._hold(entry, gate, now)
                return False
        for pace in terms.paces:
            pacer = self.paces.get(pace.key)
            if pacer is not None and pacer.free(pace, now) < 1:
                self._hold(entry, pacer, now)
                return False
        touched = self._withdrawn(entry)
        for key in _keys(terms.permits):
            gate = self.permits.get(key)
            if gate is None:
                gate = self.permits[key] = PermitGate(key)
            gate.running += 1
        for key in _keys(terms.paces):
            pacer = self._pacer(key, now)
            pacer.start(terms.paces, now)
            if pacer.crowds:
                self._look_at(pacer, now)
        if touched is not None:
            self._look_at(touched, now)
        return True

    def give_back(self, terms: Terms, now: float) -> None:
        """A task that had started runs no more."""
        for key in _keys(terms.permits):
            gate = self.permits[key]
            gate.running -= 1
            self._look_at(gate, now)

    def withdraw(self, entry: Entry, now: float) -> None:
        """*entry* leaves: an offer that it has not used is somebody else's."""
        gate = self._withdrawn(entry)
        if gate is not None:
            self._look_at(gate, now)

    def wake(self, now: float) -> None:
        """Give the turns that have come by time."""
        while self.alarms and self.alarms[0][0] <= now:
            _, _, gate = heapq.heappop(self.alarms)
            gate.alarm = None
            self._look_at(gate, now)

    def next_wake(self) -> float | None:
        """When `wake` has something to do; None while nobody waits for the time."""
        while self.alarms and not self._somebody_waits(self.alarms[0][2]):
            heapq.heappop(self.alarms)[2].alarm = None
        return self.alarms[0][0] if self.alarms else None

    def _somebody_waits(self, gate: Gate) -> bool:
        for name, crowd in tuple(gate.crowds.items()):
            if crowd.head() is None and not crowd.offered:
                del gate.crowds[name]
        return any(crowd.waiting for crowd in gate.crowds.values())

    def _withdrawn(self, entry: Entry) -> Gate | None:
        crowd, entry.offer = entry.offer, None
        if crowd is None:
            return None
        crowd.offered -= 1
        return crowd.gate

    def _hold(self, entry: Entry, gate: Gate, now: float) -> None:
        touched = self._withdrawn(entry)
        gate.add(entry)
        self._look_at(gate, now)
        if touched is not None and touched is not gate:
            self._look_at(touched, now)

    def _look_at(self, gate: Gate, now: float) -> None:
        """Offer the room there is to those who wait for it; set the alarm if time gives some."""
        for name, crowd in tuple(gate.crowds.items()):
            while (entry := crowd.head()) is not None:
                if gate.room(entry, now) <= crowd.offered:
                    if isinstance(gate, PaceGate) and not crowd.offered:
                        self._set_alarm(gate, gate.next_free(entry))
                    break
                heapq.heappop(crowd.waiting)
                crowd.offered += 1
                entry.offer = crowd
                entry.held = None
                self.offer(entry)
            if not crowd.waiting and not crowd.offered:
                del gate.crowds[name]
        if isinstance(gate, PermitGate) and gate.is_idle(now):
            self.permits.pop(gate.key, None)

    def _set_alarm(self, gate: PaceGate, due: float) -> None:
        if gate.alarm is None or due < gate.alarm:
            gate.alarm = due
            self._alarms_set += 1
            heapq.heappush(self.alarms, (due, self._alarms_set, gate))

    def _pacer(self, key: str, now: float) -> PaceGate:
        gate = self.paces.get(key)
        if gate is None:
            if len(self.paces) >= self._sweep_at:
                self.paces = {k: g for k, g in self.paces.items() if not g.is_idle(now)}
                self._sweep_at = max(1024, 2 * len(self.paces))
            gate = self.paces[key] = PaceGate(key)
        return gate


def _keys(limits: Sequence[Permit] | Sequence[Pace]) -> list[str]:
    """Each once: a call that has two limits of one key is one run and one start."""
    return list(dict.fromkeys([limit.key for limit in limits]))
