"""How much an exploration tries: under which schedules, how many pairs of points, or one point alone.

The same arguments in `assert_crash_safe` and `assert_idempotent`, read here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from actorq.testing.tape import Tape


@attrs.frozen
class Extent:
    """What is tried."""

    tapes: list[Tape]
    points: tuple[int, ...] | None  #: these and nothing else
    pairs: int | None  #: None: all
    stalls: bool

    @classmethod
    def read(
        cls,
        tape: Tape | None,
        tapes: Iterable[Tape] | None,
        only: int | Sequence[int] | None,
        pairs: int | None,
        stalls: bool,
    ) -> Extent:
        """From the arguments; raises `TypeError` or `ValueError` for what they cannot be."""
        chosen = chosen_tapes(tape, tapes)
        points = None if only is None else chosen_points(only)
        check_pairs(pairs)
        return cls(chosen, points, pairs, stalls)


def chosen_tapes(tape: Tape | None, tapes: Iterable[Tape] | None) -> list[Tape]:
    """What *tape* or *tapes* name; creation order if neither does."""
    if tape is not None and tapes is not None:
        raise TypeError("give tape= or tapes=, not both")
    chosen = [tape or Tape()] if tapes is None else list(tapes)
    if not chosen or not all(isinstance(each, Tape) for each in chosen):
        raise TypeError(
            f"tape= expects a Tape and tapes= some, such as [Tape.of_seed(n) for n in range(3)]; "
            f"got {tapes if tape is None else tape!r}"
        )
    return chosen


def chosen_points(only: int | Sequence[int]) -> tuple[int, ...]:
    """The number of a crash point, or the two of a pair."""
    numbers = (only,) if isinstance(only, int) else tuple(only)
    if not numbers or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in numbers):
        raise ValueError(
            f"only= expects the number of a crash point, 1 is the first, or those of a pair: only=17, "
            f"only=(17, 4); got {only!r}"
        )
    return numbers


def check_pairs(pairs: object) -> None:
    """A number, or None for all of them."""
    if pairs is not None and (isinstance(pairs, bool) or not isinstance(pairs, int) or pairs < 0):
        raise ValueError(
            f"pairs expects how many pairs of points are tried: 500, 0 for none, None for all; "
            f"got {pairs!r}"
        )
