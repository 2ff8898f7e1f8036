"""Which queues a worker serves, and in which order.

A value: made of what a user says, read by the engine that gives out tasks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from actorq.errors import OptionError


class QueueChoice(NamedTuple):
    """In strict order, the next only while those before have nothing; or by weight, each its share."""

    names: tuple[str, ...]
    weights: tuple[float, ...] | None = None

    @classmethod
    def read(cls, said: Sequence[str] | Mapping[str, float]) -> QueueChoice:
        """A list of names is a strict order; a mapping gives each queue its weight.

        Raises `OptionError`.
        """
        if isinstance(said, str) or not isinstance(said, Sequence | Mapping) or not said:
            raise OptionError(
                f"queues expects a list of names, in strict order, or a mapping of names to weights, "
                f"such as ['urgent', 'default'] or {{'urgent': 3, 'default': 1}}; got {said!r}"
            )
        names = tuple(said)
        if not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(
            names
        ):
            raise OptionError(f"queues expects different names of queues; got {said!r}")
        if not isinstance(said, Mapping):
            return cls(names)
        for name, weight in said.items():
            if (
                isinstance(weight, bool)
                or not isinstance(weight, int | float)
                or not 0 < weight < math.inf
            ):
                raise OptionError(
                    f"the weight of queue {name!r} must be a number > 0; got {weight!r}"
                )
        return cls(names, tuple([float(weight) for weight in said.values()]))
