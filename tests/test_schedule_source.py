"""The in-memory schedule source; the rest is in the contract."""

from __future__ import annotations

import pytest

import actorq
from actorq.engines.memory.schedules import InMemoryScheduleSource
from actorq.testing import simulate


def test_what_never_has_a_slot_is_refused_where_it_is_added() -> None:
    """Though each field of it can be."""

    async def main() -> None:
        source = InMemoryScheduleSource()
        never = actorq.cron("0 0 */31 * MON#2")
        with pytest.raises(actorq.OptionError, match="no slot in the next fifty years"):
            await source.add("greet", never)
        assert await source.list() == ()
        await source.add("greet", actorq.cron("30 2 * * *", name="nightly"))
        (info,) = await source.list()
        assert info.description == "At 02:30 every day (UTC)"

    simulate(main)


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
