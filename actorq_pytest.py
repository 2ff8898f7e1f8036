"""actorq's pytest plugin: fixtures with a queue in memory and virtual time; and the report.

There as soon as actorq is installed, for projects too that do not use it: so it imports nothing, not
even actorq, before a fixture or its option is asked for.  Hence it stands outside of the package.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import pytest


if TYPE_CHECKING:
    from actorq import Broker, System

SYSTEM = "actorq_system"
OPTION = "--actorq-report"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option for a report, and the setting that goes with it."""
    parser.getgroup("actorq").addoption(
        OPTION,
        action="append",
        nargs="?",
        const="",
        metavar="PATH",
        help="tell which promises were tried how hard, which mutants were caught, and what is not "
        f"covered; with {OPTION}=PATH written there, as .md, .txt or .json",
    )
    parser.addini(
        "actorq_promises",
        type="linelist",
        default=[],
        help="what the report is to cover: numbers of actorq's promises such as 28-34, or promises of "
        "your own, in words; those without a test are listed",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known; collect, if a report is wanted."""
    config.addinivalue_line(
        "markers",
        "promise(*promises): what the test is about, for --actorq-report: numbers of actorq's promises, "
        "or promises of your own, in words",
    )
    if config.getoption(OPTION) is not None:
        from actorq.testing.report import collecting

        collecting.configure(config)


@pytest.fixture
def actorq_broker() -> Broker:
    """The broker of `actorq_system`: override it to return your app's.

    What it returns is not opened itself: an empty stand-in is, see `actorq.testing.in_memory`.
    """
    from actorq import InMemoryBroker

    return InMemoryBroker()


async def _actorq_system(actorq_broker: Broker) -> AsyncIterator[System]:
    """An open queue in memory, in virtual time: no task of another test, no result, no override.

    Time jumps to the next deadline whenever everybody waits.  The wall clock begins at 2024-01-01 UTC;
    ids, random numbers and the order of steps are the same in each run.
    """
    from actorq import open_system
    from actorq.testing.stand_in import in_memory

    broker = in_memory(actorq_broker)
    overrides = dict(broker.dependency_overrides)
    try:
        async with open_system(broker) as system:
            yield system
    finally:
        broker.dependency_overrides = overrides


# pytest-trio is to take it for its own even where trio_mode is off
_actorq_system._force_trio_fixture = True  # type: ignore[attr-defined]
actorq_system = pytest.fixture(name=SYSTEM)(_actorq_system)


def _run_in_virtual_time(
    async_fn: Callable[[], Awaitable[Any]],
    *,
    clock: object = None,
    instruments: Sequence[Any] = (),
) -> Any:
    """What pytest-trio is to call in place of `trio.run` for a test with our system."""
    __tracebackhide__ = True
    from actorq.testing.simulation import simulate

    if clock is not None:
        pytest.fail(
            f"a test with {SYSTEM} runs in virtual time already: leave out {type(clock).__name__} "
            f"(the fixture autojump_clock or mock_clock), and write `await time_travel(seconds=...)`",
            pytrace=False,
        )
    try:
        return simulate(async_fn, instruments=instruments, limit=math.inf)
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        failed = next(iter(group.exceptions))
        for note in getattr(group, "__notes__", ()):  # what happened in the simulation
            failed.add_note(note)
    raise failed  # without the nursery in which pytest-trio runs a test: what failed reads better


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Prepare a test that has our system, by itself or by one of its fixtures."""
    if SYSTEM not in getattr(item, "fixturenames", ()):
        return
    if not item.config.pluginmanager.hasplugin("trio"):
        pytest.fail(
            f"the fixture {SYSTEM} needs pytest-trio: pip install 'actorq[testing]'", pytrace=False
        )
    if item.get_closest_marker("trio") is None:
        pytest.fail(
            f"the fixture {SYSTEM} is for async tests: write `async def {item.name}(...)` and mark it "
            f"with @pytest.mark.trio, or set trio_mode = true in pytest's configuration",
            pytrace=False,
        )
    if hasattr(getattr(item, "obj", None), "hypothesis"):
        pytest.fail(
            f"all examples of a @given test would share one {SYSTEM}: write a plain `def` test, and in "
            f"it an async function with `async with actorq.open_system(...)`, run by "
            f"actorq.testing.simulate(...)",
            pytrace=False,
        )
    # the nearest marker says which runner
    item.add_marker(pytest.mark.trio(run=_run_in_virtual_time), append=False)
