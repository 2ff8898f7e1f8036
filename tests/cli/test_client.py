"""What a command that asks an open system makes of its failures."""

from __future__ import annotations

import pytest

from actorq.cli.client import ask
from actorq.errors import EngineUnavailable, ScheduleNotFound, SystemFailed
from actorq.system import System
from cli.project import BROKER, Shop


pytestmark = pytest.mark.engine


@pytest.mark.parametrize(
    ("failure", "seen"),
    [
        (ExceptionGroup("a", [ExceptionGroup("b", [ScheduleNotFound("x")])]), ScheduleNotFound),
        (ExceptionGroup("a", [BrokenPipeError()]), BrokenPipeError),
        (ExceptionGroup("a", [ValueError(), EngineUnavailable("x")]), EngineUnavailable),
        (ExceptionGroup("a", [RuntimeError()]), ExceptionGroup),
        (SystemFailed("x"), SystemFailed),
    ],
)
def test_a_failure_in_groups_is_said_as_itself(
    shop: Shop, failure: Exception, seen: type[Exception]
) -> None:
    """Ours, in a line; what is a bug keeps its traceback."""

    async def fail(_: System) -> None:
        raise failure

    with pytest.raises(seen) as caught:
        ask(BROKER, fail)
    assert type(caught.value) is seen
