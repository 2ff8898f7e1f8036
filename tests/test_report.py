"""The verification report: what it says of a project's tests, and that it says the worst first."""

from __future__ import annotations

import json
import re
import shutil
import sys
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from actorq.testing.__main__ import main
from actorq.testing.report.collecting import expected_promises
from actorq.testing.report.evidence import Evidence, Outcome, Setting, TestRun
from actorq.testing.report.findings import findings
from actorq.testing.report.markdown import to_markdown
from actorq.testing.report.text import to_text
from actorq.testing.tally import TALLY, Tally, Trial


pytest_plugins = ["pytester"]

ROOT = Path(__file__).parent.parent

#: Where this actorq was installed before it had a plugin.
ARGS = (
    []
    if any(each.name == "actorq" for each in entry_points(group="pytest11"))
    else ["-p", "actorq.testing.plugin"]
)

PROJECT = dedent(
    """
    import pytest
    import trio
    from hypothesis import given, settings, strategies as st
    from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

    from actorq.testing import Tape, schedules, simulate
    from actorq.testing.contracts.contract import Contract, promised
    from actorq.testing.machine import TrioMachine
    from actorq.testing.mutants.mutant import Mutant
    from actorq.testing.promises import broken


    @pytest.mark.promise(1, 2)
    @settings(max_examples=7, database=None)
    @given(tape=schedules())
    def test_simulated(tape):
        simulate(trio.sleep, 3600, tape=tape)


    @pytest.mark.promise(2, "charged once")
    def test_own():
        pass


    def test_left_out():
        pass


    @pytest.mark.promise(3)
    def test_failing():
        assert 1 == 2, "one is not two"


    @pytest.mark.promise(4)
    @pytest.mark.skip(reason="no such thing here")
    def test_skipped():
        pass


    @pytest.mark.xfail(reason="known", strict=True)
    def test_known_to_fail():
        assert False


    class ListContract(Contract):
        @promised(5)
        def test_empty(self):
            if self.factory():
                raise broken(5, "it is full")

        @promised(5, 6)
        def test_machine(self):
            class Pushes(RuleBasedStateMachine):
                @rule()
                def push(self):
                    pass

            run_state_machine_as_test(Pushes, settings=settings(max_examples=11, database=None))


    class TestMine(ListContract):
        factory = list


    class TestTrio(TrioMachine.TestCase):
        settings = settings(max_examples=5, stateful_step_count=2, database=None)


    class Waits(TrioMachine):
        @rule()
        def wait(self):
            self.call(trio.sleep, 1800)


    TestWaits = Waits.TestCase
    TestWaits.settings = settings(max_examples=4, stateful_step_count=1, database=None)
    del TestTrio


    @pytest.mark.parametrize("full", [True, FULL_TOO])
    def test_mutant(full):
        mutant = Mutant(f"full {full}", 5, "is not empty", ListContract, lambda: [1] if full else [])
        mutant.caught()
    """
)


def project(survivor: bool = False) -> str:
    """Its tests."""
    return PROJECT.replace("FULL_TOO", repr(0 if survivor else 1))


def report(pytester: pytest.Pytester, *args: str) -> tuple[pytest.RunResult, Any]:
    """Run the project's tests; the report as JSON."""
    run = pytester.runpytest_subprocess if "-n" in args else pytester.runpytest_inprocess
    ran = run(*ARGS, "--actorq-report=report.json", *args)
    return ran, json.loads((pytester.path / "report.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_project_is_reported(pytester: pytest.Pytester, workers: int) -> None:
    """Each kind of test with what it tried, with pytest-xdist as without."""
    pytester.makepyfile(test_project=project())
    pytester.makeini(
        "[pytest]\nactorq_promises =\n    1-4\n    P7: all is well\n    charged once\n    never asked"
    )
    left_out = ["--deselect", "test_project.py::test_left_out", "--actorq-report=page.md"]
    _, told = report(pytester, *(["-n", str(workers)] if workers else []), *left_out)
    assert told["deselected"] == 1
    rows = {row["key"]: row for row in told["promises"]}
    assert list(rows) == ["1", "2", "3", "4", "5", "6", "P7", "charged once", "never asked"]
    assert (rows["1"]["tests"], rows["1"]["examples"], rows["1"]["simulations"]) == (1, 7, 7)
    assert rows["1"]["virtual_seconds"] == 7 * 3600
    assert (rows["2"]["tests"], rows["2"]["examples"]) == (2, 8)
    assert (rows["3"]["tests"], rows["3"]["failed"]) == (1, 1)
    assert rows["4"]["tests"] == 0  # skipped
    assert (rows["5"]["tests"], rows["5"]["examples"]) == (2, 12)  # 1 + 11
    assert (rows["5"]["tried"], rows["5"]["killed"]) == (2, 2)
    assert rows["6"]["examples"] == 11
    assert list(told["untested"]) == ["3", "4", "P7", "never asked"]
    tests = {each["test"].split("::", 1)[1]: each for each in told["tests"]}
    assert tests["test_failing"]["outcome"] == "failed"
    assert "one is not two" in tests["test_failing"]["reason"]
    assert tests["test_skipped"]["reason"] == "no such thing here"
    assert tests["test_known_to_fail"]["outcome"] == "xfailed"
    waits = tests["TestWaits::runTest"]
    assert waits["examples"] == waits["simulations"] <= 4
    assert waits["virtual_seconds"] in (1800 * (waits["examples"] - 1), 1800 * waits["examples"])
    # what was tried on mutants is nobody's evidence
    assert tests["test_mutant[True]"]["examples"] == 1
    assert {each["caught_by"] for each in told["mutants"]} == {"ListContract.test_empty"}
    page = (pytester.path / "page.md").read_text(encoding="utf-8")
    assert page.index("**Failed tests**") < page.index("## Promises") < page.index("## Mutants")
    assert (
        "| 5. an accepted message is handled at most once | 2 | 12 | 0 | 0 | 2 of 2 | 0 |" in page
    )


def test_a_mutant_that_survives_fails_the_run(pytester: pytest.Pytester) -> None:
    """Though its test did not mind; and it stands on the screen."""
    pytester.makepyfile(test_project=project(survivor=True))
    ran, _ = report(pytester, "-k", "mutant")
    assert ran.ret == pytest.ExitCode.TESTS_FAILED
    ran.stdout.fnmatch_lines(["survived: full 0: is not empty"])
    ran, _ = report(pytester, "-k", "mutant and True")
    assert ran.ret == pytest.ExitCode.OK


def test_a_run_that_ran_nothing_writes_nothing(pytester: pytest.Pytester) -> None:
    """The report of the last good run stays."""
    pytester.makepyfile(test_project=project())
    for args in (["--collect-only"], ["-k", "nothing_of_the_kind"]):
        ran = pytester.runpytest_inprocess(*ARGS, "--actorq-report=report.json", *args)
        ran.stdout.fnmatch_lines(["no test ran, or the run was broken off: no report"])
        assert not (pytester.path / "report.json").exists()


def test_a_run_that_stops_early_says_so(pytester: pytest.Pytester) -> None:
    """With -x, what comes after the failure was not looked at."""
    pytester.makepyfile("def test_a(): assert 0\ndef test_b(): pass\ndef test_c(): pass")
    _, told = report(pytester, "-x", "--actorq-report=report.txt")
    assert told["unrun"] == 2
    text = (pytester.path / "report.txt").read_text(encoding="utf-8")
    assert "2 tests that the run did not get to" in text


def test_without_the_option_nothing_is_said(pytester: pytest.Pytester) -> None:
    """The plugin is there for who asks."""
    pytester.makepyfile(test_project=project())
    ran = pytester.runpytest_inprocess(*ARGS, "-k", "own")
    ran.stdout.no_fnmatch_line("*actorq*verification*")


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["--actorq-report", "test_project.py"], "*write the tests first: pytest test_project.py*"),
        (["--actorq-report=report.html"], "*ends in .md, .txt, .json; got 'report.html'*"),
        (
            ["--actorq-report=nowhere/report.md"],
            "*written to nowhere/report.md: there is no folder*",
        ),
    ],
)
def test_wrong_paths_are_refused_before_the_first_test(
    pytester: pytest.Pytester, args: list[str], complaint: str
) -> None:
    """And with what to write instead."""
    pytester.makepyfile(test_project=project())
    ran = pytester.runpytest_inprocess(*ARGS, *args)
    assert ran.ret == pytest.ExitCode.USAGE_ERROR
    ran.stderr.fnmatch_lines([complaint])


@pytest.mark.parametrize("promise", ["55", "0", "-1", "None", "''", "'34'"])
def test_a_promise_that_is_none_is_refused(pytester: pytest.Pytester, promise: str) -> None:
    """A misspelt number is not another row; as a string it is taken for what it says."""
    pytester.makepyfile(f"import pytest\n@pytest.mark.promise({promise})\ndef test_it():\n    pass")
    ran = pytester.runpytest_inprocess(*ARGS, "--actorq-report")
    if promise == "'34'":
        ran.stdout.fnmatch_lines(["34. stale fences are refused*"])
    else:
        assert ran.ret == pytest.ExitCode.USAGE_ERROR
        ran.stderr.fnmatch_lines(["*::test_it: a promise is a number from 1 to 54, or your own*"])


def test_a_file_that_cannot_be_read_is_told(pytester: pytest.Pytester) -> None:
    """Its tests are missing."""
    pytester.makepyfile(test_good="def test_it(): pass", test_bad="import nowhere_to_be_found")
    _, told = report(pytester, "--continue-on-collection-errors")
    assert told["uncollected"] == ["test_bad.py"]
    assert told["total"]["tests"] == 1


@pytest.mark.slow
def test_the_example_reports_what_its_page_says(pytester: pytest.Pytester) -> None:
    """Each line of the page's output is printed, columns and all; drawn programs that Hypothesis gave up
    were simulated too, a few more or less each time.
    """
    example = shutil.copytree(ROOT / "examples" / "report", pytester.path / "examples" / "report")
    ran = pytester.run(sys.executable, "-m", "actorq.testing", "report", example)
    assert ran.ret == pytest.ExitCode.OK
    page = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
    _, _, shown = page.partition("$ python -m actorq.testing report examples/report\n")
    printed = [re.sub(r"1[0-9]{2}(?= {13}0   1 of 1)", "123", line) for line in ran.outlines]
    for line in shown.partition("```")[0].splitlines():
        assert line in printed


def test_the_command_prints_json_alone(pytester: pytest.Pytester) -> None:
    """So that a program can read it; the status is pytest's."""
    pytester.makepyfile(test_project=project())
    command = [sys.executable, "-m", "actorq.testing", "report", "--json", "-k", "failing"]
    ran = pytester.run(*command)
    assert ran.ret == pytest.ExitCode.TESTS_FAILED
    assert json.loads(ran.stdout.str())["total"]["failed"] == 1
    ran.stderr.fnmatch_lines(["*1 failed*"])


def test_a_command_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    """There is but one."""
    with pytest.raises(SystemExit, match="2"):
        main(["reprot"])
    assert "invalid choice: 'reprot'" in capsys.readouterr().err


def test_what_is_expected() -> None:
    """Numbers, ranges of them, and one's own."""
    found = expected_promises(["3", "52 - 53", "1–2", "P1: all is well", "as it stands"])
    assert list(found) == ["3", "52", "53", "1", "2", "P1", "as it stands"]
    assert found["P1"] == "all is well"
    with pytest.raises(pytest.UsageError, match=r"actorq_promises: .* got 55"):
        expected_promises(["54-55"])


LACKING = "declared as lacking: time"

EVIDENCE = Evidence(
    Setting("2026-01-02", {"Python": "3.11.7", "trio": "0.34"}, "Linux", "default", "pytest -q"),
    runs=(
        TestRun("t.py::a", promises=("31", "32"), examples=1200, simulations=1200, crash_points=9),
        TestRun("t.py::b", promises=("32",), virtual_seconds=7200.0),
        TestRun("t.py::c", Outcome.FAILED, "assert 1 == 2", promises=("33",)),
        TestRun("t.py::d", Outcome.SKIPPED, "lacks | time", promises=("38",)),
        TestRun("t.py::T::f", Outcome.SKIPPED, LACKING, promises=("38", "4")),
        TestRun("t.py::T::g", Outcome.SKIPPED, LACKING, promises=("38", "own words")),
        TestRun(
            "t.py::e",
            trials=(
                Trial("loses all", 31, "drops what it was given", "BrokerContract.test_x"),
                Trial("early bird", 33, "retries at once", None),
            ),
        ),
    ),
    expected={"31": "an accepted task survives; an uncertain one may be sent again", "P": "own"},
    seconds=83.2,
    exit_status=1,
)

TEXT = """\
Not covered
  Failed tests
    t.py::c [33]: assert 1 == 2
  Mutants that survived
    early bird: retries at once (promise 33)
  Promises without a test that passed
    4. a send that returned was accepted, a cancelled one was not
    33. attempts are counted, and a retry is not early
    38. a delayed task is not early, an expired one never starts
    P: own
    own words
  Tests that were skipped
    t.py::d [38]: lacks | time
    declared as lacking: time [4, 38, own words]: f, g

promise                                                tests  examples  simulations  crash points  mutants  virtual hours
-------------------------------------------------------------------------------------------------------------------------
31. an accepted task survives; an uncertain o…             1     1,200        1,200             9   1 of 1              0
32. at least once, or at most once, as the ac…             2     1,201        1,200             9                     2.0
33. attempts are counted, and a retry is not…   1 (1 failed)         1            0             0   0 of 1              0
tests that name no promise                                 1         1            0             0                       0
-------------------------------------------------------------------------------------------------------------------------
all, each test once                             4 (1 failed)     1,203        1,200             9   1 of 2            2.0

Mutants, by the promise that each breaks
   31  loses all: drops what it was given
       caught by BrokerContract.test_x

date: 2026-01-02
versions: Python 3.11.7, trio 0.34 on Linux
Hypothesis profile: default
took: 1 min 23 s

2 promises, 4 tests, 1,203 examples, 1,200 simulations with 2.0 virtual hours, 9 crash points; 1 of 2 mutants caught; 1 test failed.
"""  # noqa: E501 - as wide as it is


def test_the_text() -> None:
    """Failures, survivors and gaps before any number."""
    assert to_text(EVIDENCE) == TEXT


def test_the_page() -> None:
    """The same as tables, with every promise in them."""
    page = to_markdown(EVIDENCE)
    assert page.startswith("# Verification\n\n**2 promises, 4 tests, ")
    assert "* t.py::d [38]: lacks \\| time" in page
    assert "| P: own | 0 | 0 | 0 | 0 |  | 0 |" in page
    assert "| 33 | early bird | retries at once | **it survived** |" in page
    assert "written by `pytest -q`" in page


def test_a_mutant_that_survived_once_has_survived() -> None:
    """Though another test caught it."""
    trials = tuple(Trial("m", 1, "breaks", by) for by in ("a", None, "b"))
    found = findings(Evidence(EVIDENCE.setting, (TestRun("t", trials=trials),)))
    assert [each.caught_by for each in found.mutants] == [None]


def test_what_is_tried_aside_does_not_count() -> None:
    """Though it raises."""
    before = TALLY.take()
    try:
        TALLY.examples = 3
        with suppress(ValueError), TALLY.aside():
            TALLY.examples += 1
            TALLY.virtual_seconds += 1
            TALLY.mutants.append(Trial("m", 1, "breaks", None))
            raise ValueError
        assert TALLY.take() == Tally(examples=3)
        assert TALLY.take() == Tally()
    finally:
        TALLY._set(before)
