"""The tape: who steps next, decided by numbers that can be drawn, replayed and shrunk.

Owns what is played to Trio's run loop, and which tasks it does not get to see: a frozen one is never
run, so that a simulated process can die between two steps without cleaning up.

Rests on private names of Trio's scheduler; `tests/test_simulation.py` is the canary.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, MutableSequence, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs
import trio
from trio._core import _run


if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

#: pytest shows the reader's own lines, not ours; `--full-trace` shows all.
__tracebackhide__ = True

#: Tasks that may be told apart in one batch: further ones keep their place.
WIDTH = 8


def _frozen(choices: Iterable[int]) -> tuple[int, ...]:
    frozen = choices if isinstance(choices, tuple) else _listed(choices)
    if not all(type(choice) is int for choice in frozen):
        raise TypeError(f"a Tape is made of whole numbers: Tape([3, 0, 1]); got {choices!r:.200}")
    return frozen


def _listed(choices: object) -> tuple[int, ...]:
    if isinstance(choices, str | bytes) or not isinstance(choices, Iterable):
        raise TypeError(
            f"a Tape is made of whole numbers: Tape([3, 0, 1]), or of a seed: Tape.of_seed(7); "
            f"got {choices!r}"
        )
    return tuple(choices)


@attrs.frozen
class Tape:
    """The scheduler's decisions, a number each.  Off its end, tasks step in creation order."""

    choices: tuple[int, ...] = attrs.field(default=(), converter=_frozen)
    _made_by: str = attrs.field(default="", eq=False, alias="made_by")  #: a shorter way to write it

    @classmethod
    def of_seed(cls, seed: int, length: int = 10_000) -> Tape:
        """A random schedule of *length* choices; the same for the same *seed*."""
        for name, value in (("seed", seed), ("length", length)):
            if (
                isinstance(value, bool)
                or not isinstance(value, int)
                or (name == "length" and value < 0)
            ):
                raise TypeError(f"Tape.of_seed() expects whole numbers; got {name}={value!r}")
        dice = random.Random(seed)
        said = f"{seed!r}" if length == 10_000 else f"{seed!r}, {length!r}"
        choices = [dice.randrange(WIDTH) for _ in range(length)]
        return cls(choices, made_by=f"Tape.of_seed({said})")

    def played(self, choices: int) -> Tape:
        """The shortest tape that gives the same run, if only so many *choices* of this were used."""
        used = self.choices[:choices]
        while used and not used[-1]:  # 0 is creation order, as off the end
            used = used[:-1]
        if self._made_by and len(used) > 20:
            return self
        return Tape(used)

    def __repr__(self) -> str:
        return self._made_by or f"Tape({list(self.choices)!r})"


def as_tape(given: object) -> Tape:
    """What was said as `tape=`: a tape, its numbers, or nothing."""
    if given is None:
        return Tape()
    if isinstance(given, Tape):
        return given
    if isinstance(given, list | tuple):
        return Tape(given)
    advice = "simulate(main, tape=Tape([3, 0, 1])), or tape=Tape.of_seed(7)"
    if hasattr(given, "example") and hasattr(given, "map"):
        advice = "schedules() is a strategy; draw from it: @given(tape=schedules())"
    raise TypeError(f"tape expects a Tape; got {given!r}: {advice}")


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
        self.tape = tape
        self.played = 0  #: choices that were used

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

    @property
    def held(self) -> Sequence[trio.lowlevel.Task]:
        """Those that could run, and are frozen."""
        return self._held

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
        choices = self.tape.choices[self.played : self.played + len(batch) - 1]
        self.played += len(choices)
        for i, choice in zip(range(len(batch) - 1, 0, -1), choices, strict=False):
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
