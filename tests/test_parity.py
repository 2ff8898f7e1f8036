"""docs/parity.md: no row is empty, each test that it names is there, each statement is shown."""

from __future__ import annotations

import ast
import builtins
import datetime
import inspect
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import trio

import actorq
import actorq.middlewares
import actorq.testing
from actorq.options import Options


ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "parity.md").read_text(encoding="utf-8")
STATEMENTS = [f"T{n:02}" for n in range(1, 57)] + [f"A{n:02}" for n in range(1, 41)]
SECTIONS = [f"1.{n}" for n in (*range(1, 15), 16)]
LINK = re.compile(r"\[`(test_\w+)`\]\(\.\./((?:tests|actorq/testing/contracts)/[\w/]+\.py)\)")


def _rows(part: str) -> Iterator[list[str]]:
    """The cells of each row of each table, without the heads."""
    for line in part.splitlines():
        if line.startswith("|") and not re.match(r"\|( taskiq| \||---)", line):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))]


def _section(title: str) -> str:
    _, _, rest = PAGE.partition(f"\n## {title}")
    return re.split(r"\n## ", rest)[0]


@cache
def _tests_of(file: str) -> dict[str, str]:
    """The docstring of each test in a file."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {
        node.name: ast.get_docstring(node) or ""
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    }


def _named_by_docstrings() -> dict[str, list[str]]:
    named: dict[str, list[str]] = defaultdict(list)
    for path in (ROOT / "tests").rglob("*.py"):
        file = path.relative_to(ROOT).as_posix()
        for name, docstring in _tests_of(file).items():
            for statement in re.findall(r"\b[TA]\d\d\b", docstring):
                named[statement].append(f"{file}: {name}")
    return named


@pytest.mark.parametrize("section", [*SECTIONS, "Statements"])
def test_no_row_is_empty(section: str) -> None:
    """Each says what is there, what is here, and which test shows it."""
    rows = list(_rows(_section(section)))
    assert rows
    for row in rows:
        assert len(row) == 3, row
        assert all(row), row
        assert LINK.search(row[2]), row


def test_every_test_that_is_named_is_there() -> None:
    """In the file that the link leads to."""
    links = LINK.findall(PAGE)
    assert len(links) == len(re.findall(r"\]\(\.\./(tests|actorq/testing/contracts)/", PAGE))
    for name, file in links:
        assert name in _tests_of(file), f"{file} has no {name}"


def test_every_statement_is_in_the_table_and_shown() -> None:
    """By tests whose docstrings name it."""
    rows = {row[0]: row[2] for row in _rows(_section("Statements"))}
    assert list(rows) == STATEMENTS
    named = _named_by_docstrings()
    assert set(named) <= set(STATEMENTS)
    for statement, shown in rows.items():
        links = LINK.findall(shown)
        for name, file in links:
            assert statement in _tests_of(file)[name], f"{name} does not name {statement}"
        assert links, f"{statement} is shown by {named[statement]}: link to one"


#: What the names in the right-hand columns are methods and attributes of.
OBJECTS: dict[str, object] = {
    "sys": actorq.System,
    "sys.schedules": actorq.Schedules,
    "broker": actorq.InMemoryBroker,
    "handle": actorq.TaskHandle,
    "ctx": actorq.Context,
    "task": actorq.AsyncTask,
    "progress": actorq.Progress,
    "schedule": actorq.ScheduleHandle,
    "actorq": actorq,
    "trio": trio,
    "trio.from_thread": trio.from_thread,
}
#: Where the classes are.
PLACES = (actorq, actorq.middlewares, trio, builtins, datetime)
#: What takes the other parameters that are named.
CALLS = (
    actorq.open_system,
    actorq.RetryPolicy.exponential,
    actorq.RetryPolicy,
    actorq.Rate,
    actorq.Concurrency,
    actorq.Unique,
    actorq.cron,
    actorq.every,
    actorq.InMemoryResultBackend,
    actorq.SQLiteBroker,
    actorq.middlewares.SimpleRetry,
)
TABLES = [*sorted((ROOT / "docs").glob("coming-from-*.md")), ROOT / "docs" / "parity.md"]


def _ours(page: Path) -> Iterator[str]:
    """The code in the second column of each table."""
    for row in _rows(page.read_text(encoding="utf-8")):
        if len(row) > 1:
            yield from re.findall(r"`([^`]+)`", row[1])


@pytest.mark.parametrize("page", TABLES, ids=lambda page: page.name)
def test_what_the_look_up_tables_name_is_there(page: Path) -> None:
    """Each method, option and class of ours: a table that names what was renamed misleads."""
    found = 0
    for code in _ours(page):
        for name, attribute in re.findall(r"(?<![\w.\"'])((?:\w+\.)*\w+)\.(\w+)\b", code):
            if name in OBJECTS:
                found += 1
                assert hasattr(OBJECTS[name], attribute), code
        for name in re.findall(r"(?<![\w.\"'=/-])([A-Z]\w+)(?=\(|$)", code):
            found += 1
            assert any(hasattr(module, name) for module in PLACES), code
    assert found > 20


@pytest.mark.parametrize("page", TABLES, ids=lambda page: page.name)
def test_the_options_that_look_up_tables_name_are_there(page: Path) -> None:
    """`using(x=...)`, and `x=` alone, is an option, or a parameter of one of ours."""
    parameters = set(Options.__annotations__)
    for each in (*CALLS, *OBJECTS.values()):
        methods = inspect.getmembers(each, inspect.isfunction) if isinstance(each, type) else []
        for call in (each, *[method for _, method in methods]):
            if callable(call):
                parameters |= set(inspect.signature(call).parameters)
    for code in _ours(page):
        for name in re.findall(r"(?<![\w.])([a-z]\w+)=(?!=)", code):
            assert name in parameters, code
