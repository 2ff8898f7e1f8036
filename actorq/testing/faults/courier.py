"""The courier: carries what actors send in a simulation, late or twice if it is told to.

What it takes was accepted, and is put into the mailbox in the end: when its time has come, at the
latest when the mailbox closes (promises 6 and 45).  A lane holds what one sender has sent to one
actor, in order; while something is held in it, what comes later waits behind (promise 2).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any

import attrs
import trio

from actorq.cell import Cell, running_cell
from actorq.mailbox import Envelope
from actorq.reply import Reply
from actorq.tap import Tap
from actorq.testing.faults.planned import Planned
from actorq.testing.simulation import Simulation, current_simulation


#: pytest shows the reader's own lines, not ours; `--full-trace` shows all.
__tracebackhide__ = True


@attrs.define(eq=False)
class Rule(Planned):
    """What is to be done with a message that is to come."""

    matches: Callable[[Any, bool], bool] = attrs.field(kw_only=True)  #: the message; is it an ask
    seconds: float = 0.0  #: hold it for so long
    overtaken: bool = False  #: until a message of somebody else has passed it
    copies: int = 0  #: deliver it so many times more
    lose_answer: Exception | None = None  #: crash with this when it is answered

    def __str__(self) -> str:
        does = [
            f"delays this message by {self.seconds:g} s" if self.seconds else "",
            "holds this message until another has passed it" if self.overtaken else "",
            f"delivers this message {self.copies} times more" if self.copies else "",
            "loses the answer to this message" if self.lose_answer is not None else "",
        ]
        return ", ".join(filter(None, does))


@attrs.define(eq=False)
class _Held:
    item: Any
    until: float
    overtaken: bool = False


class LostAnswer(Reply[Any]):
    """Stands before the asker's reply: the actor crashes when it answers."""

    __slots__ = ("_error", "_real", "_rule")

    def __init__(self, real: Reply[Any], rule: Rule, error: Exception) -> None:
        super().__init__()
        self._real = real
        self._rule = rule
        self._error: Exception | None = error

    @property
    def abandoned(self) -> bool:
        """Nobody waits any more."""
        return self._real.abandoned

    @property
    def settled(self) -> bool:
        """The asker has been answered."""
        return self._real.settled

    @property
    def outcome(self) -> Any:
        """What the asker was answered."""
        return self._real.outcome

    def send(self, value: Any) -> bool:
        """Crash who answers, the first time; if anybody waits."""
        error, self._error = self._error, None
        if error is None or self._real.abandoned:
            super().send(value)  # no incarnation's any more
            return self._real.send(value)
        self._rule.strike()
        raise error

    def fail(self, error: Exception) -> bool:
        """The asker fails."""
        super().fail(error)
        return self._real.fail(error)

    def _defer(self, owner: dict[Reply[Any], None]) -> None:
        super()._defer(owner)
        self._real._unblock_asker()


class Courier(Tap):
    """One for a simulation."""

    def __init__(self) -> None:
        self._rules: dict[Cell, list[Rule]] = {}
        self._lanes: dict[Cell, dict[object, deque[_Held]]] = {}

    def obey(self, cell: Cell, rule: Rule) -> None:
        """Do as *rule* says, once."""
        self._rules.setdefault(cell, []).append(rule)

        def off() -> None:
            rules = self._rules.get(cell, [])
            if rule in rules:
                rules.remove(rule)

        rule._off = off

    def takes(self, cell: Cell, item: Any) -> bool:
        """Hold it, double it, or let it pass."""
        rules, lanes = self._rules.get(cell), self._lanes.get(cell)
        if not rules and not lanes:
            return False
        is_ask = type(item) is Envelope
        message = item.message if is_ask else item
        sender = _sender()
        turn = [
            rule for rule in rules or () if rule.matches(message, is_ask) and rule.is_its_turn()
        ]
        copies = 0
        hold = _Held(item, trio.current_time())
        for rule in turn:
            if rule.lose_answer is not None:  # strikes when it is answered
                item.reply = LostAnswer(item.reply, rule, rule.lose_answer)
                rule._off()
                continue
            rule.strike()
            copies += rule.copies
            hold.until = max(hold.until, trio.current_time() + rule.seconds)
            hold.overtaken |= rule.overtaken
        late = hold.until > trio.current_time() or sender in (lanes or ())
        if not copies and not late and (not lanes or not _has_room(cell)):
            return False  # the common way; who waits for room is held up by that already
        self._hold(cell, sender, hold)
        for _ in range(copies):
            self._hold(cell, sender, _Held(_copy(item), trio.current_time()))
            cell.accepted += 1
        self.release(cell)
        return True

    def _hold(self, cell: Cell, sender: object, held: _Held) -> None:
        self._lanes.setdefault(cell, {}).setdefault(sender, deque()).append(held)
        if held.until > trio.current_time():
            # the system's: whoever sends may end, be cancelled or frozen meanwhile
            trio.lowlevel.spawn_system_task(
                self._release_at, cell, held.until, name=f"a delayed message to {cell.name!r}"
            )

    async def _release_at(self, cell: Cell, moment: float) -> None:
        await trio.sleep_until(moment)
        self.release(cell)

    def release(self, cell: Cell, *, everything: bool = False) -> None:
        """Put in what is due; what passes may open the way for what waits to be overtaken."""
        lanes = self._lanes.get(cell, {})
        again = True
        while again:
            again = False
            for sender, lane in tuple(lanes.items()):
                while lane and (everything or lane[0].until <= trio.current_time()):
                    cell.mailbox.put(lane.popleft().item)
                    for other, waiting in lanes.items():
                        if other != sender and waiting and waiting[0].overtaken:
                            waiting[0].until = -math.inf
                            again = True
                if not lane:
                    lanes.pop(sender, None)
        if not lanes:
            self._lanes.pop(cell, None)

    def closing(self, cell: Cell) -> None:
        """What is on its way arrives before the mailbox closes."""
        self.release(cell, everything=True)
        self._rules.pop(cell, None)


def _sender() -> object:
    """An actor, for all that runs on its behalf; else the task."""
    cell = running_cell.get()
    return trio.lowlevel.current_task() if cell is None else cell


def _has_room(cell: Cell) -> bool:
    statistics = cell.mailbox._receive.statistics()
    return bool(
        statistics.tasks_waiting_receive
        or statistics.current_buffer_used < statistics.max_buffer_size
    )


def _copy(item: Any) -> Any:
    """The same once more; nobody waits for its answer."""
    if type(item) is not Envelope:
        return item
    reply: Reply[Any] = Reply()
    reply._abandon()
    return Envelope(item.message, reply)


def courier_of(simulation: Simulation) -> Courier:
    """The one that carries in this simulation."""
    for each in simulation.listeners:
        if isinstance(each, Courier):
            return each
    courier = Courier()
    simulation.listeners.append(courier)
    return courier


def courier_for(cell: Cell, what: str) -> Courier:
    """The courier that hears what *cell* is sent."""
    try:
        simulation = current_simulation()
    except RuntimeError:
        simulation = None
    if simulation is None or cell.tap is not simulation:
        raise RuntimeError(
            f"{what}() bends messages, and that works in a simulation only, for actors that were "
            f"opened in it: run the program with simulate(...)"
        )
    return courier_of(simulation)
