"""The tape: who steps next, decided by numbers that can be drawn, replayed and shrunk.

Owns what is played to Trio's run loop, and which tasks it does not get to see: a frozen one is never
run, so that a simulated process can die between two steps without cleaning up.

Rests on private names of Trio's scheduler; `tests/test_simulation.py` is the canary.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, MutableSequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs
import trio
from trio._core import _run


if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

#: Tasks that may be told apart in one batch: further ones keep their place.
WIDTH = 8


def _frozen(choices: Iterable[int]) -> tuple[int, ...]:
    return tuple(choices)


@attrs.frozen
class Tape:
    """The scheduler's decisions, a number each.  Off its end, tasks step in creation order."""

    choices: tuple[int, ...] = attrs.field(default=(), converter=_frozen)

    @classmethod
    def of_seed(cls, seed: int, length: int = 10_000) -> Tape:
        """A random schedule; the same for the same *seed*."""
        dice = random.Random(seed)
        return cls([dice.randrange(WIDTH) for _ in range(length)])

    def __repr__(self) -> str:
        return f"Tape({list(self.choices)!r})"


def schedules(max_size: int = 400) -> SearchStrategy[Tape]:
    """A Hypothesis strategy for schedules.  Shrinks towards creation order."""
    try:
        from hypothesis import strategies as st
    except ImportError as error:
        raise ImportError("schedules() needs Hypothesis: pip install 'actorq[testing]'") from error
    return st.lists(st.integers(0, WIDTH - 1), max_size=max_size).map(Tape)


class Player:
    """Plays a tape to Trio's run loop, for which it looks like a `random.Random`."""

    def __init__(self, tape: Tape, on_batch: Callable[[], None] | None = None) -> None:
        self.load(tape)
        self._on_batch = on_batch
        #: Go one step at a time, in the order that there would have been anyway: what is frozen in one
        #: step does not have the next.
        self.step_by_step = False
        #: Then called before each step with the task that is to run; may freeze it.
        self.before_step: Callable[[trio.lowlevel.Task], None] | None = None
        self._left: list[trio.lowlevel.Task] = []  #: of a batch, the next one last
        self._frozen: set[trio.lowlevel.Task] = set()  #: with all below them
        self._held: list[trio.lowlevel.Task] = []  #: frozen ones that could run

    def load(self, tape: Tape) -> None:
        """Play *tape* from its beginning."""
        self._choices = iter(tape.choices)

    # --- freezing ---

    def freeze(self, task: trio.lowlevel.Task) -> None:
        """From the next step on (if `step_by_step`), run neither *task* nor anything below it."""
        self._frozen.add(task)

    def thaw(self, task: trio.lowlevel.Task) -> None:
        """Undo `freeze`: what could have run meanwhile runs now."""
        self._frozen.discard(task)
        held, self._held = self._held, []
        _runner().runq.extend(held)  # those below another frozen task are held again

    def is_frozen(self, task: trio.lowlevel.Task | None) -> bool:
        """Whether *task*, or one above it, is frozen."""
        while task is not None:
            if task in self._frozen:
                return True
            task = None if task.parent_nursery is None else task.parent_nursery.parent_task
        return False

    def _hold(self, tasks: MutableSequence[Any]) -> None:
        if self._frozen:
            cold = [task for task in tasks if self.is_frozen(task)]
            if cold:
                self._held += cold
                tasks[:] = [task for task in tasks if task not in cold]

    # --- what Trio calls ---

    def shuffle(self, batch: MutableSequence[Any]) -> None:
        """Order a batch of runnable tasks."""
        if self._on_batch is not None:
            self._on_batch()
        self._hold(batch)
        if self.step_by_step or self._left:
            self._leave_one(batch)
        else:
            self._order(batch)

    def _leave_one(self, batch: MutableSequence[Any]) -> None:
        """Let one task run; the others of its batch come before those that become runnable now."""
        left = [task for task in self._left if task in batch]
        new = [task for task in batch if task not in left]
        while True:
            if not left:
                left, new = new, []
                self._order(left)
            if not left:
                break
            task = left[-1]
            if self.before_step is not None:
                self.before_step(task)
                self._hold(left)
                self._hold(new)
            if left and left[-1] is task:
                break
        batch[:] = [left.pop()] if left else []
        self._left = left
        _runner().runq.extend([*left, *new])

    def _order(self, batch: MutableSequence[Any]) -> None:
        batch.reverse()  # the loop pops from the end
        for i in range(len(batch) - 1, 0, -1):
            choice = next(self._choices, None)
            if choice is None:
                return
            j = i - choice % (i + 1)
            batch[i], batch[j] = batch[j], batch[i]

    def random(self) -> float:
        """Only for show: the run loop does not ask when it is deterministic."""
        return 1.0

    def uniform(self, a: float, _b: float) -> float:
        """Jitter of Trio's own, such as it is."""
        return a


def _runner() -> Any:
    return vars(_run.GLOBAL_RUN_CONTEXT)["runner"]  # by `vars`: type checkers do not find it


@contextmanager
def scheduler(player: object) -> Iterator[None]:
    """Let *player* decide the order of steps in every Trio run, until left."""
    # by `vars`: to a type checker the flag is final
    names = vars(_run)
    saved = {name: names[name] for name in ("_r", "_ALLOW_DETERMINISTIC_SCHEDULING")}
    names.update(_r=player, _ALLOW_DETERMINISTIC_SCHEDULING=True)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        names.update(saved)  # pyright: ignore[reportAttributeAccessIssue]
