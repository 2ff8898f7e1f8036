"""The in-memory schedule source, by the suite for all of them."""

from __future__ import annotations

import pytest

import actorq
from actorq.engines.memory.schedules import InMemoryScheduleSource
from schedule_source_suite import ScheduleSourceSuite


class TestInMemoryScheduleSource(ScheduleSourceSuite):
    """The reference."""

    make_source = InMemoryScheduleSource


def test_its_repr_says_how_many() -> None:
    """For people who read a log."""
    assert repr(InMemoryScheduleSource()) == "<InMemoryScheduleSource: 0 schedules>"


def test_a_broker_takes_sources_only() -> None:
    """Objects, at least one."""
    broker = actorq.InMemoryBroker()
    source = InMemoryScheduleSource()
    assert broker.with_schedule_source(source) is broker
    assert broker.schedule_sources == (source,)
    for wrong in ((), (InMemoryScheduleSource,), (source, None)):
        with pytest.raises(TypeError, match="expects ScheduleSource objects"):
            broker.with_schedule_source(*wrong)
