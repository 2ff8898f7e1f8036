"""Pytest's side of the report: what each test is about, how much it tried, how it ended.

Workers of pytest-xdist attach what they know to the report of a test's teardown, which travels to the
controller; that, or the only process, puts it all together and writes.
"""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import cattrs
import pytest

from actorq.testing.promises import PROMISES
from actorq.testing.report.as_json import to_json
from actorq.testing.report.evidence import Evidence, Outcome, Setting, TestRun
from actorq.testing.report.findings import findings
from actorq.testing.report.markdown import to_markdown
from actorq.testing.report.text import to_text
from actorq.testing.report.wording import headline
from actorq.testing.tally import TALLY


OPTION: Final = "--actorq-report"

#: How to write it, by the end of the file's name.
FORMATS: Final[dict[str, Callable[[Evidence], str]]] = {
    ".md": to_markdown,
    ".txt": to_text,
    ".json": to_json,
}

#: Where a worker puts what it knows of a test, in the report of its teardown.
_KEY = "actorq_run"
#: Where it puts how many tests it has left out.
_LEFT_OUT = "actorq_left_out"


#: Examples that Hypothesis could draw, and that the test did not refuse.
_COUNTED = frozenset({"valid", "interesting"})


def configure(config: pytest.Config) -> None:
    """Collect, if a report is wanted.  The option itself is declared in `actorq_pytest`."""
    wanted = config.getoption(OPTION)
    if wanted is not None:
        paths = [_checked(config, each) for each in wanted if each]
        expected = expected_promises(config.getini("actorq_promises"))
        collector = Collector(config, paths, expected, shown="" in wanted)
        config.pluginmanager.register(collector, "actorq-report")


def _checked(config: pytest.Config, given: str) -> Path:
    path = config.invocation_params.dir / given
    if path.suffix not in FORMATS:
        raise pytest.UsageError(
            f"a report is written to a file that ends in {', '.join(FORMATS)}; got {given!r}. To have "
            f"it on the screen and name tests as well, write the tests first: "
            f"pytest {shlex.quote(given)} {OPTION}"
        )
    if not path.parent.is_dir():
        raise pytest.UsageError(
            f"the report cannot be written to {given}: there is no folder {path.parent}"
        )
    return path


def expected_promises(lines: list[str]) -> dict[str, str]:
    """Keys and texts of what the setting `actorq_promises` names."""
    found: dict[str, str] = {}
    for line in lines:
        if numbers := re.fullmatch(r"(\d+)(?:\s*[-–]\s*(\d+))?", line.strip()):
            first, last = int(numbers[1]), int(numbers[2] or numbers[1])
            for number in range(first, last + 1):
                key = _key(number, "actorq_promises")
                found[key] = PROMISES[number]
        elif own := re.fullmatch(r"([A-Za-z]\w*): +(.+)", line.strip()):
            found[own[1]] = own[2]
        else:
            found[line.strip()] = ""
    return found


def promises_of(item: pytest.Item) -> tuple[str, ...]:
    """What a test is about: by its marks, or by its place in a contract."""
    keys = [_key(each, item.nodeid) for mark in item.iter_markers("promise") for each in mark.args]
    keys += [str(each) for each in sorted(getattr(getattr(item, "obj", None), "promises", ()))]
    return tuple(dict.fromkeys(keys))


def _key(promise: object, where: str) -> str:
    if isinstance(promise, str) and promise and not promise.isdecimal():
        return promise
    if isinstance(promise, int | str) and promise and int(promise) in PROMISES:
        return str(int(promise))
    raise pytest.UsageError(
        f"{where}: a promise is a number from 1 to {max(PROMISES)}, or your own in words; "
        f"got {promise!r}"
    )


@contextmanager
def _examples_counted() -> Iterator[None]:
    """Count what Hypothesis runs here, in a `@given` or in a state machine that a test runs itself."""
    collector: Any = None
    if "hypothesis" in sys.modules:
        from hypothesis import statistics

        collector = getattr(statistics, "collector", None)
    if collector is None:
        yield
        return
    # Hypothesis' own plugin, if this is a test of its kind; not another report's, of a pytest that runs
    # this one inside of itself: there is one tally for both, which would count twice
    outer = collector.value
    outer = getattr(outer, "actorq_outer", outer)

    def note(told: dict[str, Any]) -> None:
        for phase in told.values():
            if isinstance(phase, dict):
                cases = phase.get("test-cases", ())
                TALLY.examples += sum(case["status"] in _COUNTED for case in cases)
        if outer is not None:
            outer(told)

    note.actorq_outer = outer  # type: ignore[attr-defined]
    with collector.with_value(note):
        yield


@attrs.define(eq=False)
class Collector:
    """Gathers a run's evidence; registered as a plugin only if a report is wanted."""

    config: pytest.Config
    paths: list[Path]  #: to write it to
    expected: dict[str, str]  #: promises to cover
    shown: bool  #: on the screen too
    began: float = attrs.field(factory=time.perf_counter)
    runs: dict[str, TestRun] = attrs.field(factory=dict)
    uncollected: list[str] = attrs.field(factory=list)
    deselected: int = 0
    evidence: Evidence | None = None  #: once the run is over

    @property
    def is_worker(self) -> bool:
        """In a worker of pytest-xdist, whose controller writes the report."""
        return hasattr(self.config, "workerinput")

    # --- where the test runs ---

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """A promise that does not exist is found out before the first test."""
        for item in items:
            promises_of(item)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self) -> Iterator[None]:
        """What was counted outside of tests is nobody's."""
        TALLY.take()
        return (yield)

    @pytest.hookimpl(wrapper=True, trylast=True)  # inside of Hypothesis' own
    def pytest_runtest_call(self) -> Iterator[None]:
        """Count the examples."""
        with _examples_counted():
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Send what is known of the test with the last of its reports."""
        report = yield
        if report.when == "teardown":
            tried = TALLY.take()
            run = TestRun(
                item.nodeid,
                promises=promises_of(item),
                examples=max(1, tried.examples),
                simulations=tried.simulations,
                virtual_seconds=tried.virtual_seconds,
                crash_points=tried.crash_points,
                trials=tuple(tried.mutants),
            )
            setattr(report, _KEY, cattrs.unstructure(run))
        return report

    # --- where it is put together ---

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Setup, call and teardown of a test are told one by one."""
        if self.is_worker:
            return
        run = self.runs.get(report.nodeid, TestRun(report.nodeid))
        outcome, reason = _outcome(report)
        if outcome is not Outcome.PASSED and run.outcome is not Outcome.FAILED:
            run = attrs.evolve(run, outcome=outcome, reason=reason)
        if (told := getattr(report, _KEY, None)) is not None:
            run = attrs.evolve(
                cattrs.structure(told, TestRun),
                outcome=run.outcome,
                reason=run.reason,
                seconds=run.seconds,
            )
        self.runs[report.nodeid] = attrs.evolve(run, seconds=run.seconds + report.duration)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """What cannot be read proves nothing."""
        if report.failed and report.nodeid not in self.uncollected:
            self.uncollected.append(report.nodeid)

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Tests that were left out on purpose."""
        self.deselected += len(items)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Iterator[None]:
        """Write, unless there is nothing to tell."""
        if self.is_worker:
            self.config.workeroutput[_LEFT_OUT] = self.deselected  # type: ignore[attr-defined]
            return (yield)
        self.evidence = self._put_together(session)
        found = findings(self.evidence)
        if found.survivors and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if self._tells_something:
            for path in self.paths:
                path.write_text(FORMATS[path.suffix](self.evidence), encoding="utf-8")
        return (yield)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker has ended; all of them collected, and left out, the same."""
        left_out = getattr(node, "workeroutput", {}).get(_LEFT_OUT, 0)
        self.deselected = max(self.deselected, left_out)

    @property
    def _tells_something(self) -> bool:
        """Tests ran, and were not broken off by Ctrl-C or by an error in pytest itself."""
        ends = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        return (
            self.evidence is not None
            and self.evidence.exit_status in ends
            and not self.config.option.collectonly
        )

    def _put_together(self, session: pytest.Session) -> Evidence:
        args = " ".join(map(shlex.quote, self.config.invocation_params.args))
        # as __main__ has it where actorq was installed before it was a plugin
        args = args.replace("-p actorq.testing.plugin ", "")
        return Evidence(
            setting=Setting.now(command=f"pytest {args}"),
            runs=tuple(sorted(self.runs.values(), key=lambda run: run.test)),
            expected=self.expected,
            uncollected=tuple(self.uncollected),
            deselected=self.deselected,
            unrun=max(0, session.testscollected - len(self.runs)),
            seconds=time.perf_counter() - self.began,
            exit_status=int(session.exitstatus),
        )

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Show it, or say where it is."""
        if self.evidence is None:
            return
        terminalreporter.section("actorq: verification")
        if not self._tells_something:
            terminalreporter.write_line("no test ran, or the run was broken off: no report")
            return
        found = findings(self.evidence)
        if self.shown:
            terminalreporter.write_line(to_text(self.evidence).rstrip())
        else:
            terminalreporter.write_line(f"{headline(found)}.")
            for each in found.survivors:
                terminalreporter.write_line(f"survived: {each.mutant}: {each.breaks}", red=True)
        for path in self.paths:
            terminalreporter.write_line(f"written to {path}")


def _outcome(report: pytest.TestReport) -> tuple[Outcome, str]:
    """How this part of a test ended, and why."""
    if hasattr(report, "wasxfail") and report.outcome == "skipped":
        return Outcome.XFAILED, report.wasxfail.removeprefix("reason: ")
    if report.outcome == "skipped":
        *_, reason = report.longrepr if isinstance(report.longrepr, tuple) else ("",)
        return Outcome.SKIPPED, str(reason).removeprefix("Skipped: ")
    if report.outcome == "failed":
        return Outcome.FAILED, _last_line(report)
    return Outcome.PASSED, ""


def _last_line(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = str(report.longrepr) if crash is None else str(crash.message)
    first, *_ = text.strip().splitlines() or [""]
    return first if report.when == "call" else f"in its {report.when}: {first}"
