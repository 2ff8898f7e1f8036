"""Gates in the file: they admit, hold and offer whom the reference does, for two processes."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorq.engines.memory.admission import Admission
from actorq.engines.memory.entry import Entry as ReferenceEntry
from actorq.engines.memory.entry import Held, State
from actorq.engines.memory.lanes import Line
from actorq.engines.sent import Bounds
from actorq.engines.sqlite import gates
from actorq.engines.sqlite.gates import Gates
from actorq.engines.sqlite.queue.entry import COLUMNS, Entry
from actorq.limits import Pace, Permit
from actorq.message import TaskMessage, Terms
from actorq.options import TaskOptions
from crash.tables import look
from sqlite_files import connected, plan


pytestmark = pytest.mark.engine

_INSERT = """insert into actorq_tasks
    (task_id, name, queue, priority, state, number, deliveries, terms, message)
    values (?, 'task', ?, ?, 'ready', ?, 5, ?, '')"""


class InFile:
    """The gates of a file, and just so much of a law round them as gives them work."""

    def __init__(self, path: Path, connections: int = 2) -> None:
        self.connections = [connected(path) for _ in range(connections)]
        self.turn = 0

    @property
    def connection(self) -> sqlite3.Connection:
        """Whose turn it is."""
        return self.connections[self.turn]

    def add(self, number: int, queue: str, priority: int, bounds: Bounds) -> None:
        """A ready task."""
        given = (str(number), queue, priority, number, bounds.dump())
        self.connection.execute(_INSERT, given)

    def entry(self, task: str) -> Entry:
        """As the law reads it."""
        found = self.connection.execute(
            f"select {COLUMNS} from actorq_tasks where task_id = ?", (task,)
        )
        return Entry(found.fetchone())

    def admit(self, task: str, now: float) -> bool:
        """A worker asks for it."""
        entry = self.entry(task)
        assert entry.bounds is not None
        if not Gates(self.connection).admit(entry, entry.bounds, now):
            assert entry.held
            return False
        self.connection.execute(
            "update actorq_tasks set state = 'leased' where id = ?", (entry.id,)
        )
        return True

    def end(self, task: str, now: float) -> None:
        """It has run."""
        entry = self.entry(task)
        assert entry.bounds is not None
        self.connection.execute("delete from actorq_tasks where id = ?", (entry.id,))
        Gates(self.connection).give_back(entry.bounds, now)

    def cancel(self, task: str, now: float) -> None:
        """It goes before it has started."""
        entry = self.entry(task)
        self.connection.execute("delete from actorq_tasks where id = ?", (entry.id,))
        if entry.offer is not None:
            Gates(self.connection).withdraw(entry, now)

    def places(self) -> dict[str, tuple[str, str | None, bool]]:
        """Where everybody is: state, why held, whether offered."""
        rows = self.connection.execute("select task_id, state, held, offer from actorq_tasks")
        return {task: (state, held, offer is not None) for task, state, held, offer in rows}

    def close(self) -> None:
        """Of the file."""
        for each in self.connections:
            each.close()


class InMemory:
    """The reference, in the same surroundings."""

    def __init__(self) -> None:
        self.entries: dict[str, ReferenceEntry] = {}
        self.admission = Admission(lambda _: None)

    def add(self, number: int, queue: str, priority: int, bounds: Bounds) -> None:
        """A ready task."""
        terms = Terms(permits=bounds.permits, paces=bounds.paces)
        options = TaskOptions(queue=queue, priority=priority)
        message = TaskMessage(str(number), "task", options=options, terms=terms)
        entry = self.entries[str(number)] = ReferenceEntry(message, State.READY, Line(queue))
        entry.number = number

    def admit(self, task: str, now: float) -> bool:
        """A worker asks for it."""
        entry = self.entries[task]
        assert entry.message.terms is not None
        admitted = self.admission.admit(entry, entry.message.terms, now)
        if admitted:
            entry.state = State.LEASED
        return admitted

    def end(self, task: str, now: float) -> None:
        """It has run."""
        entry = self.entries.pop(task)
        entry.state = State.DONE
        assert entry.message.terms is not None
        self.admission.give_back(entry.message.terms, now)

    def cancel(self, task: str, now: float) -> None:
        """It goes before it has started."""
        entry = self.entries.pop(task)
        entry.state = State.DONE
        if entry.offer is not None:
            self.admission.withdraw(entry, now)

    def places(self) -> dict[str, tuple[str, str | None, bool]]:
        """Where everybody is: state, why held, whether offered."""
        return {
            task: (e.state.value, e.held.value if e.held else None, e.offer is not None)
            for task, e in self.entries.items()
        }


_PERMITS = st.builds(Permit, st.sampled_from("xxy"), st.integers(1, 3))
_PACES = st.builds(
    Pace, st.sampled_from("xxy"), st.integers(1, 3), st.sampled_from([1.0, 2.0, 5.0]), st.booleans()
)
_BOUNDS = st.builds(
    lambda permits, paces: Bounds(None, tuple(permits), tuple(paces)),
    st.lists(_PERMITS, max_size=2),
    st.lists(_PACES, max_size=2),
)
_ADD = st.tuples(st.just("add"), st.sampled_from("qr"), st.integers(0, 1), _BOUNDS)
_CLAIM = st.tuples(st.just("claim"), st.sampled_from("qr"))
_PICK = st.tuples(st.sampled_from(["end", "cancel"]), st.integers(0, 30))
_LATER = st.tuples(st.just("later"), st.sampled_from([0.25, 0.5, 1.0, 3.0]))
_TURNS = st.integers(0, 1)
#: Enough of them to crowd the gates, or most of the drawn ones would be about nobody.
_OPERATIONS = st.builds(
    lambda *parts: [each for part in parts for each in part],
    st.lists(st.tuples(_TURNS, _ADD), min_size=6, max_size=10),
    st.lists(
        st.tuples(_TURNS, st.one_of(_CLAIM, _CLAIM, _CLAIM, _ADD, _PICK, _LATER)),
        min_size=16,
        max_size=50,
    ),
)


def _claimed(places: dict[str, tuple[str, str | None, bool]], queue: dict[str, Any]) -> list[str]:
    """Who may be claimed of a queue, the highest priority first, then the oldest."""
    ready = [task for task in queue if places.get(task, ("", None, False))[:2] == ("ready", None)]
    return sorted(ready, key=lambda task: (-queue[task], int(task)))


@pytest.mark.promise(41)
@given(_OPERATIONS)
def test_gates_admit_hold_and_offer_whom_the_reference_does(
    operations: list[tuple[int, tuple[Any, ...]]],
) -> None:
    """41: the same answers and the same places after each step, and everybody has a turn at last."""
    now = 1000.0
    numbers = 0
    queues: dict[str, dict[str, int]] = {"q": {}, "r": {}}
    with tempfile.TemporaryDirectory() as folder:
        file, reference = InFile(Path(folder) / "queue.db"), InMemory()

        def claim(queue: str) -> None:
            tasks = _claimed(reference.places(), queues[queue])
            if tasks:
                assert file.admit(tasks[0], now) == reference.admit(tasks[0], now)

        def later(seconds: float) -> None:
            nonlocal now
            now += seconds
            due = Gates(file.connection).next_wake()
            if due is not None and due <= now:  # or it has nothing to do
                Gates(file.connection).wake(now)
            reference.admission.wake(now)

        def in_place(place: str) -> list[str]:
            return [t for t, (state, *_) in sorted(reference.places().items()) if state == place]

        for turn, (what, *given_) in operations:
            file.turn = turn
            if what == "add":
                queue, priority, bounds = given_
                numbers += 1
                queues[queue][str(numbers)] = priority
                for each in (file, reference):
                    each.add(numbers, queue, priority, bounds)
            elif what == "claim":
                claim(given_[0])
            elif what == "later":
                later(given_[0])
            else:
                tasks = in_place("leased" if what == "end" else "ready")
                if tasks:
                    task = tasks[given_[0] % len(tasks)]
                    for each in (file, reference):
                        getattr(each, what)(task, now)
            assert file.places() == reference.places(), (what, given_)

        for _ in range(200 * len(reference.entries)):  # nobody is forgotten
            if not reference.entries:
                break
            for task in in_place("leased"):
                file.end(task, now)
                reference.end(task, now)
            for queue in queues:
                claim(queue)
            if not any(_claimed(reference.places(), queue) for queue in queues.values()):
                due = Gates(file.connection).next_wake()
                if due is not None:
                    later(max(0.0, due - now))
            assert file.places() == reference.places()
        assert not reference.entries
        left = "select (select count(*) from actorq_permits), count(*) from actorq_tasks"
        assert file.connection.execute(left).fetchone() == (0, 0)
        file.close()


def _statements() -> list[str]:
    found = [
        value
        for name, value in vars(gates).items()
        if name.startswith("_") and name.isupper() and isinstance(value, str)
    ]
    return [*found, *gates._DROP]


@pytest.mark.parametrize("statement", _statements())
def test_a_crowd_at_one_gate_costs_the_others_nothing(path: Path, statement: str) -> None:
    """Each statement seeks, and none sorts."""
    connection = connected(path)
    steps = plan(connection, statement)
    connection.close()
    assert "TEMP B-TREE" not in steps
    assert "SCAN" not in steps.replace(
        "SCAN actorq_paces USING INDEX actorq_paces_alarms",
        "",  # stops at the first
    ).replace("SCAN CONSTANT ROW", "")


def test_many_who_wait_are_no_dearer_than_few(path: Path) -> None:
    """A turn at a gate where fifty thousand wait costs what it costs where fifty do."""
    bounds = Bounds(permits=(Permit("x", 10),))
    cost: dict[int, float] = {}
    for crowd in (50, 50_000):
        file = InFile(path.with_name(f"{crowd}.db"), 1)
        file.connection.execute("begin")
        file.connection.executemany(
            _INSERT, [(str(n), "q", 0, n, bounds.dump()) for n in range(crowd)]
        )
        for task in range(40):
            file.admit(str(task), 0.0)
        file.connection.execute(
            "update actorq_tasks set held = 'limited', gate = 'permit x' "
            "where state = 'ready' and held is null"
        )
        spent = []
        for task in range(10):
            started = time.process_time()
            file.end(str(task), 0.0)
            spent.append(time.process_time() - started)
        cost[crowd] = min(spent)
        file.close()
    assert cost[50_000] < 5 * cost[50]


def test_rates_that_nobody_uses_are_forgotten(path: Path) -> None:
    """A rate per account leaves nothing behind of accounts that were quiet for an hour."""
    file = InFile(path, 1)
    file.connection.execute("begin")
    for number in range(500):
        file.add(number, "q", 0, Bounds(paces=(Pace(f"account {number}", 1, 1.0, smooth=True),)))
        now = number * 60.0
        assert file.admit(str(number), now)
        file.end(str(number), now)
    (paces,) = file.connection.execute("select count(*) from actorq_paces").fetchone()
    (starts,) = file.connection.execute("select count(*) from actorq_starts").fetchone()
    file.close()
    assert paces == starts <= 65


def test_held_is_told_by_its_reason() -> None:
    """What the rows say is what the reference calls it."""
    assert (gates.PermitGate.why, gates.PaceGate.why) == (Held.LIMITED.value, Held.PACED.value)


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        ("update actorq_permits set running = 2", "permits are counted wrongly"),
        ("delete from actorq_permits", "permits are counted wrongly"),
        ("update actorq_tasks set gate = null", "held at no gate"),
        ("delete from actorq_tasks where state = 'leased'", "forgotten at a limit"),
        ("update actorq_paces set alarm = null", "forgotten at a rate"),
        ("insert into actorq_keys values ('key', 'nobody', null)", "a unique key of a task"),
    ],
)
def test_the_crash_rounds_would_see_a_gate_that_is_wrong(path: Path, harm: str, found: str) -> None:
    """What they look for in the file is there when it is done to it, and not before."""
    file = InFile(path, 1)
    for number in range(3):
        file.add(number, "q", 0, Bounds(permits=(Permit("x", 1),)))
        file.add(number + 3, "q", 0, Bounds(paces=(Pace("y", 1, 60.0, smooth=True),)))
    for number in range(6):
        file.admit(str(number), 0.0)
    expected = [each for each in look(path, ()) if "leased to nobody" not in each]
    assert not expected
    file.connection.execute(harm)
    if harm.startswith("delete from actorq_tasks"):
        file.connection.execute("delete from actorq_permits")
    file.close()
    assert any(found in each for each in look(path, ()))
