"""The pytest plugin: `actorq_system`, in the projects of those who use it."""

from __future__ import annotations

from pathlib import Path

import pytest

import actorq_pytest as plugin


pytest_plugins = ["pytester"]

TRIO_MODE = "[pytest]\ntrio_mode = true\nfilterwarnings = error\n"
HEAD = """
import pytest
import trio
import actorq
from actorq.testing import now, time_travel

"""


def _run(
    pytester: pytest.Pytester, tests: str, *args: str, conftest: str = "", ini: str = TRIO_MODE
) -> pytest.RunResult:
    """The tests of another project, with our plugin under the name that it has when installed."""
    pytester.makeini(ini)
    if conftest:
        pytester.makeconftest(conftest)
    pytester.makepyfile(HEAD + tests)
    return pytester.runpytest_inprocess("-p", "no:actorq", *args, plugins=[plugin])


ADD = """
@actorq.task
async def add(a: int, b: int) -> int:
    await trio.sleep(3600)
    return a + b

{marker}
async def test_add(actorq_system):
    handle = await actorq_system.enqueue(add, 1, 2)
    assert await handle.result() == 3
    assert trio.current_time() == 3600
    assert handle.task_id == "0" * 31 + "1"
    assert now().isoformat() == "2024-01-01T01:00:00+00:00"
"""


@pytest.mark.parametrize(
    ("ini", "marker"), [(TRIO_MODE, ""), ("[pytest]\n", "@pytest.mark.trio")], ids=["mode", "mark"]
)
def test_a_system_in_virtual_time(pytester: pytest.Pytester, ini: str, marker: str) -> None:
    """An hour takes no time; ids, random numbers and the wall clock are those of a simulation."""
    _run(pytester, ADD.format(marker=marker), ini=ini).assert_outcomes(passed=1)


def test_a_plain_function_takes_no_virtual_time(pytester: pytest.Pytester) -> None:
    """A thread works while nobody's deadline comes nearer."""
    tests = """
import time

@actorq.task(timeout=5)
def slow() -> None:
    time.sleep(0.05)

async def test_it(actorq_system):
    await (await actorq_system.enqueue(slow)).result()
    assert trio.current_time() == 0
"""
    _run(pytester, tests).assert_outcomes(passed=1)


def test_each_test_begins_empty(pytester: pytest.Pytester) -> None:
    """What one test leaves in the app's module-level broker (a task, a result, an override) is gone."""
    tests = """
from actorq import Depends

broker = actorq.InMemoryBroker()
ran = []

def get_name():
    return "real"

@broker.task
async def name(value: str = Depends(get_name)) -> str:
    ran.append(value)
    return value

@pytest.fixture
def actorq_broker():
    return broker

@pytest.mark.parametrize("again", range(2))
async def test_it(actorq_system, again):
    counts = await actorq_system.queue_statistics()
    assert (counts.ready, counts.scheduled, counts.done) == (0, 0, 0)
    assert await (await name.kiq()).result() == "real"
    broker.dependency_overrides[get_name] = lambda: "fake"
    assert await (await name.kiq()).result() == "fake"
    await name.using(delay=60).kiq()

def test_nothing_was_left_behind():
    assert ran == ["real", "fake"] * 2
    assert broker.dependency_overrides == {}
    assert not broker._taken
    with pytest.raises(actorq.SystemClosed):
        broker.open_system_or_raise()
"""
    _run(pytester, tests).assert_outcomes(passed=3)


def test_what_fails_in_a_test_is_shown_as_it_is(pytester: pytest.Pytester) -> None:
    """No group round it, no frame of ours."""
    tests = """
async def test_it(actorq_system):
    wanted = 5
    assert wanted == 4
"""
    result = _run(pytester, tests)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([">       assert wanted == 4", "E       assert 5 == 4"])
    assert "Group" not in result.stdout.str()
    assert "simulate" not in result.stdout.str()


def test_a_test_that_waits_for_what_never_comes_fails(pytester: pytest.Pytester) -> None:
    """It does not hang, and the error names the line."""
    tests = """
async def test_it(actorq_system):
    await trio.Event().wait()
"""
    result = _run(pytester, tests)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*waits for what never comes*", "*test_it*.py:*"])


def test_clean_up_that_fails_is_seen(pytester: pytest.Pytester) -> None:
    """A shutdown handler that raises, or an actor whose failures end the system, fail the test."""
    tests = """
from actorq.testing import crash

broker = actorq.InMemoryBroker()

@broker.on_shutdown
def shut_down(state):
    if getattr(state, "broken", False):
        raise OSError("the pool would not close")

@pytest.fixture
def actorq_broker():
    return broker

async def test_shutdown(actorq_system):
    actorq_system.state.broken = True

async def test_crashes(actorq_system):
    actorq_system.state.broken = False
    for _ in range(4):
        crash(actorq_system.actor("broker"))
        await actorq_system.queue_statistics()
"""
    result = _run(pytester, tests)
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*OSError*the pool would not close*"])
    result.stdout.fnmatch_lines(["*SystemFailed*"])


@pytest.mark.parametrize(
    ("tests", "complaint"),
    [
        ("def test_it(actorq_system): pass", "*is for async tests*"),
        (
            "async def test_it(actorq_system, autojump_clock): pass",
            "*in virtual time already: leave out MockClock*time_travel*",
        ),
        (
            "from hypothesis import given, strategies as st\n"
            "@given(st.integers())\nasync def test_it(actorq_system, n): pass",
            "*write a plain `def` test*simulate*",
        ),
    ],
)
def test_how_not_to_use_it(pytester: pytest.Pytester, tests: str, complaint: str) -> None:
    """Each wrong use says what to write."""
    result = _run(pytester, tests)
    assert result.ret == 1
    result.stdout.fnmatch_lines([complaint])


def test_without_pytest_trio(pytester: pytest.Pytester) -> None:
    """Other tests do not notice; a test that wants a system is told what to install."""
    tests = """
def test_other():
    pass

async def test_it(actorq_system):
    pass
"""
    result = _run(pytester, tests, "-p", "no:trio", ini="[pytest]\n")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*needs pytest-trio: pip install 'actorq?testing?'*"])


def test_it_imports_nothing_before_it_is_used(pytester: pytest.Pytester) -> None:
    """Of a project that has actorq installed and tests something else: not even actorq."""
    pytester.makepyfile(
        """
import sys

def test_it():
    assert "actorq_pytest" in sys.modules
    assert "actorq" not in sys.modules
    assert "trio" not in sys.modules
"""
    )
    others = ("actorq", "trio", "hypothesispytest", "anyio")  # those that import trio
    block = [each for name in others for each in ("-p", f"no:{name}")]
    pytester.runpytest_subprocess(*block, "-p", "actorq_pytest").assert_outcomes(passed=1)


def test_the_examples_of_the_documentation(pytester: pytest.Pytester) -> None:
    """They are a project of their own, as a reader would have it."""
    tests = Path(__file__).parent.parent / "examples" / "testing"
    result = pytester.runpytest_inprocess(
        "-p", "no:actorq", "-p", "no:cacheprovider", str(tests), plugins=[plugin]
    )
    assert result.ret == 0
    assert result.parseoutcomes()["passed"] >= 10


CHARGES = """
from actorq.testing import NotIdempotent, assert_crash_safe, assert_enqueued, assert_idempotent

class Bank:
    def __init__(self):
        self.debits = []

@actorq.task
async def charge(who: str, bank: Bank = actorq.Depends()) -> None:
    bank.debits.append(who)
    await trio.sleep(1)

def debits(bank):
    return bank.debits

def test_story():
    assert_idempotent(charge, "Ann", observe=debits, world=Bank)
"""
WRONG = """
async def test_wrong(actorq_system):
    await time_travel()

async def test_never(actorq_system):
    await trio.sleep_forever()

async def test_swapped(actorq_system):
    assert_enqueued(charge, actorq_system)

def test_observe():
    assert_idempotent(charge, "Ann", observe=lambda bank: bank.nothing, world=Bank)

def test_lines():
    async def program(storage):
        await trio.sleep(1)
    def two_lines(storage):
        raise ValueError("one" + chr(10) + "two")
    assert_crash_safe(program, two_lines)

def test_called():
    async def program(storage): ...
    assert_crash_safe(program(None), debits)
"""


def test_the_story_of_a_failure_is_a_screenful(pytester: pytest.Pytester) -> None:
    """What pytest prints is the reader's own line and the story, and none of our frames."""
    told = _run(pytester, CHARGES)
    told.assert_outcomes(failed=1)
    lines = told.outlines
    begins = next(i for i, line in enumerate(lines) if line.startswith("____"))
    ends = next(i for i, line in enumerate(lines) if line.startswith("===") and i > begins)
    story = "\n".join(lines[begins:ends])
    assert "charge is not idempotent" in story
    assert "direct cause" not in story
    assert "exploration.py" not in story
    assert "actorq/testing" not in story
    assert "Enqueue(charge('Ann') #the-task)" in story
    assert ends - begins <= 42, story


def test_errors_of_the_kit_come_without_its_source(pytester: pytest.Pytester) -> None:
    """Such as a wrong argument: what was expected, below the line that has it."""
    told = _run(pytester, CHARGES + WRONG, "-k", "not story", ini=TRIO_MODE).stdout
    told.no_fnmatch_line("*in time_travel*")
    told.no_fnmatch_line("*async def watched*")
    told.no_fnmatch_line("*def assert_*")
    told.no_fnmatch_line("When test_wrong raised*")  # nobody waited for anything
    told.fnmatch_lines(["E*time_travel() expects one of the two*"])
    told.fnmatch_lines(["E*Stuck: the simulated program waits for what never comes:"])
    told.fnmatch_lines(["E*assert_enqueued() expects an open system*"])
    told.fnmatch_lines(["E*without any crash, observe failed; nothing was tried"])
    told.fnmatch_lines(["E       *    ValueError: one", "E       *    two"])
    told.fnmatch_lines(["E*program got a coroutine; pass program, not program(...)"])
