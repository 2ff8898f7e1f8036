"""What a round's client enqueues: drawn from a seed, so that a client that is started again knows it."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, Final

import attrs

from actorq.call import Enqueueable
from crash import tasks


#: How often each kind is drawn in a round with everything in it.
MIXED: Final = {
    "step": 60,
    "many": 10,  # a batch of steps
    "flaky": 8,
    "chain": 5,
    "keyed": 8,
    "limited": 6,
    "late": 4,
    "at_most_once": 3,
    "in_thread": 4,
}
PLAIN: Final = {"step": 90, "many": 10}
MANY: Final = 10


@attrs.frozen
class Call:
    """One call of the client: one task, or several."""

    index: int
    kind: str
    task: Enqueueable[Any, Any]
    args: tuple[Any, ...]


def plan(seed: int, tasks_wanted: int, kinds: dict[str, int]) -> list[Call]:
    """Calls that come to so many tasks at least."""
    random_ = random.Random(f"{seed} plan")
    names, weights = list(kinds), list(kinds.values())
    calls: list[Call] = []
    count = 0
    while count < tasks_wanted:
        kind = random_.choices(names, weights)[0]
        calls.append(_call(seed, len(calls), kind, random_))
        count += {"many": MANY, "chain": 3}.get(kind, 1)
    return calls


def _call(seed: int, index: int, kind: str, random_: random.Random) -> Call:
    task_id = f"{seed}-{index}"
    if kind == "chain":
        chain = tasks.link.call("", 1) | tasks.link.step(2) | tasks.link.step(3)
        return Call(index, kind, chain, ())
    if kind == "many":
        return Call(index, kind, tasks.step, (random_.uniform(0, 0.03),))
    task, args = {
        "step": (tasks.step, (random_.uniform(0, 0.03),)),
        "flaky": (tasks.flaky, (random_.randint(0, 3),)),
        "keyed": (tasks.keyed, (f"k{random_.randrange(5)}",)),
        "limited": (tasks.limited, ()),
        "late": (tasks.late, ()),
        "at_most_once": (tasks.at_most_once, ()),
        "in_thread": (tasks.in_thread, (random_.uniform(0, 0.02),)),
    }[kind]
    options: dict[str, Any] = {"priority": random_.choice((0, 0, 0, 5, -5))}
    if kind != "keyed":
        options["task_id"] = task_id
    return Call(index, kind, task.using(**options), args)  # type: ignore[attr-defined]


def amount(calls: list[Call]) -> Counter[str]:
    """How many of each kind."""
    return Counter(call.kind for call in calls)
