"""The environment: what a system takes from the world outside."""

from __future__ import annotations

import contextvars

from actorq.environment import (
    Environment,
    current_environment,
    set_environment,
)


def test_an_environment_is_set_for_its_context_only() -> None:
    """What a simulation sets does not leak."""
    mine = Environment(wall=lambda: 42.0)

    def inside() -> float:
        set_environment(mine)
        return current_environment().wall()

    assert contextvars.copy_context().run(inside) == 42.0
    assert current_environment() is not mine
