"""The slots by themselves: no task, no event loop, and a decision after each event."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actorq.slots import WAKING, Slots


def test_a_batch_has_two_slots_woken_the_last_to_park_first() -> None:
    """Those that find work have more woken."""
    slots: Slots[str] = Slots(8, started=4, parked=dict.fromkeys(["a", "b", "c", "d"]))
    assert slots.reconcile(5) == (["d", "c"], 0)
    assert slots.reconcile(5) == ([], 0)  # they are on their way
    slots.waking -= 1
    slots.running += 1
    assert slots.reconcile(4) == (["b"], 0)


def test_slots_are_started_when_none_is_free() -> None:
    """As many as can be of use, and no more than there are slots."""
    slots: Slots[str] = Slots(2)
    assert slots.reconcile(1) == ([], 1)
    assert slots.reconcile(9) == ([], 1)
    slots.waking, slots.running = 0, 2
    assert slots.reconcile(9) == ([], 0)


def test_who_wants_its_slot_again_goes_before_new_jobs() -> None:
    """In the order in which they asked."""
    slots: Slots[str] = Slots(1, running=3, suspended=2, started=3)
    slots.resuming = dict.fromkeys(["parent", "other"])
    assert slots.reconcile(5) == ([], 0)
    slots.running -= 1
    assert slots.reconcile(5) == (["parent"], 0)
    assert not slots.has_room()
    slots.running -= 1
    assert slots.reconcile(5) == (["other"], 0)
    assert slots.suspended == 0


def test_a_job_that_waits_no_longer_for_its_slot_counts_as_one_that_has_it() -> None:
    """It goes on without: no new job starts until that is made up for."""
    slots: Slots[str] = Slots(1, running=2, suspended=1, started=2, parked={"x": None})
    slots.resuming["parent"] = None
    slots.give_up("parent")
    assert not slots.resuming
    slots.running -= 1
    assert slots.reconcile(1) == ([], 0)
    slots.running -= 1
    assert slots.reconcile(1) == (["x"], 0)


@given(st.integers(1, 4), st.lists(st.sampled_from(["come", "run", "end", "suspend", "resume"])))
def test_slots_are_neither_idle_nor_overbooked(concurrency: int, events: list[str]) -> None:
    """Whatever happens: with room and a job that waits, somebody is on the way to it."""
    slots: Slots[int] = Slots(concurrency)
    waiting, tasks = 0, iter(range(1_000))

    def decide() -> None:
        before = len(slots.parked) + len(slots.resuming)
        wake, _ = slots.reconcile(waiting)
        assert len(slots.parked) + len(slots.resuming) == before - len(wake)
        assert slots.running - slots.suspended <= concurrency
        assert not (slots.resuming and slots.has_room())
        room = concurrency - slots.running + slots.suspended
        assert slots.waking >= min(WAKING, waiting, room)
        assert slots.waking <= WAKING

    for event in events:
        asked = len(slots.resuming)
        if event == "come":
            waiting += 1
        elif event == "run" and slots.waking:
            slots.waking -= 1
            if waiting and slots.has_room():
                waiting -= 1
                slots.running += 1
            else:
                slots.parked[next(tasks)] = None
        elif event == "end" and slots.running > slots.suspended:
            slots.running -= 1
            slots.parked[next(tasks)] = None
        elif event == "suspend" and slots.running > slots.suspended:
            slots.suspended += 1
        elif event == "resume" and slots.suspended > asked and not slots.resume():
            slots.resuming[next(tasks)] = None
        decide()
