"""The documents: what they show runs, what they name is there, and where they point exists."""

from __future__ import annotations

import importlib.util
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
import trio

from actorq import errors
from actorq.message import TaskMessage
from actorq.options import Options
from actorq.progress import TaskProgress
from actorq.result import TaskResult
from actorq.testing import simulate
from actorq.wire import Encryption, Signing, Wire


ROOT = Path(__file__).parent.parent
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "CHANGELOG.md"])
SHOWN = sorted((ROOT / "examples" / "tutorial").glob("*.py"))
SHOWN += sorted((ROOT / "examples" / "guide").glob("*.py"))
#: These use threads, or ask Python for the time: out of a simulation's reach, as files are.
IN_REAL_TIME = {"step06.py", "step09.py", "threads.py", "stalls.py", "own_worker.py"}
#: These are tests themselves: they run below, among ours.
TESTS = [path for path in SHOWN if path.name.startswith("test_")]
PROGRAMS = [path for path in SHOWN if path not in TESTS]


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    info: str
    text: str


def _name(path: object) -> str:
    return path.relative_to(ROOT).as_posix() if isinstance(path, Path) else str(path)


def _blocks(page: Path) -> Iterator[Block]:
    fence = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
    for _, info, text in fence.findall(page.read_text(encoding="utf-8")):
        yield Block(page, info.strip(), textwrap.dedent(text))


def _load(path: Path) -> ModuleType:
    """The program afresh, so that nothing is left of an earlier run."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _run(path: Path) -> None:
    main = _load(path).main
    if path.name in IN_REAL_TIME or "SQLite" in path.read_text(encoding="utf-8"):
        trio.run(main)
    else:
        simulate(main)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty current folder: some programs leave a file there."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_code_in_the_documents_is_code_that_runs(page: Path) -> None:
    """Every Python block of a page stands, word for word, in some file under examples/."""
    files = [path.read_text(encoding="utf-8") for path in (ROOT / "examples").rglob("*.py")]
    for block in _blocks(page):
        if block.info.split(" ")[0] == "python":
            assert any(_occurs(block.text, text) for text in files), block.text


def _occurs(block: str, text: str) -> bool:
    """Whether *block* stands in *text*, indented by any one amount."""
    return any(textwrap.indent(block, " " * depth) in text for depth in range(0, 20, 4))


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "block",
    [block for page in PAGES for block in _blocks(page) if block.info.startswith("text examples/")],
    ids=lambda block: f"{block.page.name}-{block.info.split('/')[-1]}",
)
def test_output_in_the_documents_is_what_is_printed(
    block: Block, capsys: pytest.CaptureFixture[str]
) -> None:
    """A block marked "text examples/x.py" is what that program prints."""
    _run(ROOT / block.info.removeprefix("text "))
    assert capsys.readouterr().out == block.text


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("path", PROGRAMS, ids=_name)
def test_the_examples_run(path: Path) -> None:
    """Every program of the tutorial and of the guide ends, and without an error."""
    _run(path)


for _path in TESTS:
    globals().update(
        {name: value for name, value in vars(_load(_path)).items() if name.lower()[:4] == "test"}
    )


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link leads to a file, and to a heading if it names one."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), f"{_name(page)} links to {target}"
        if anchor:
            assert anchor in _anchors(path), f"{_name(page)} links to {target}"


def _anchors(page: Path) -> set[str]:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    titles = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_page_is_on_the_map() -> None:
    """The index links to every page of the guide."""
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        if page.name != "index.md":
            assert f"({page.relative_to(ROOT / 'docs').as_posix()})" in index, page.name


def test_every_error_is_in_troubleshooting() -> None:
    """Each error class has a place where its reader can look it up."""
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, errors.ActorqError):
            assert f"`{name}`" in text, name


def test_every_option_is_in_the_table() -> None:
    """Each option of a task is explained."""
    text = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
    for name in Options.__annotations__:
        assert f"| `{name}` |" in text, name


PROMISES = range(1, 55)


def test_every_promise_is_in_semantics() -> None:
    """Promises 1 to 54 are all there, in order."""
    text = (ROOT / "docs" / "semantics.md").read_text(encoding="utf-8")
    numbers = [int(number) for number in re.findall(r"^\*\*(\d+)\.\*\*", text, re.MULTILINE)]
    assert numbers == list(PROMISES)


def test_every_promise_has_the_tests_that_semantics_names() -> None:
    """Each promise is named by a docstring in the file of its row, or is said to have none."""
    text = (ROOT / "docs" / "semantics.md").read_text(encoding="utf-8")
    proved: set[int] = set()
    for file, numbers in re.findall(r"^\| \[(tests/\S+)\]\S+ \| ([\d–, ]+) \|", text, re.MULTILINE):
        claimed = _numbers(numbers)
        assert claimed <= _named_by_tests(ROOT / file), file
        proved |= claimed
    missing = re.search(r"^No test yet: ([\d–, ]+)\.$", text, re.MULTILINE)
    assert proved | (_numbers(missing[1]) if missing else set()) == set(PROMISES)


def _numbers(text: str) -> set[int]:
    """The numbers of a list such as "1–8, 11"."""
    numbers: set[int] = set()
    for part in text.split(", "):
        first, _, last = part.partition("–")
        numbers.update(range(int(first), int(last or first) + 1))
    return numbers


def _named_by_tests(path: Path) -> set[int]:
    """Docstrings begin with a list of numbers; what has a letter before it is no promise."""
    heads = re.findall(r'"""([\dA-Z, ]+)[.:"]', path.read_text(encoding="utf-8"))
    return {int(part) for head in heads for part in head.split(", ") if part.isdecimal()}


def _hex_dump(page: Path, info: str) -> bytes:
    """The bytes of a block of hex digits."""
    (block,) = [block for block in _blocks(page) if block.info == info]
    return b"".join(bytes.fromhex(line[6:54]) for line in block.text.splitlines())


def test_the_bytes_in_the_wire_format_are_what_it_says() -> None:
    """Signed and encrypted, by the keys that the page names."""
    page = ROOT / "docs" / "wire-format.md"
    signing = Signing({"2025-01": bytes(range(32))})
    encryption = Encryption({"e1": bytes(range(32, 64))})
    for info, wire in (
        ("text signed", Wire(signing=signing)),
        ("text encrypted", Wire(encryption=encryption)),
    ):
        message = wire.decode_message(_hex_dump(page, info), "7")
        assert (message.task_name, message.args) == ("add", (1, 2))
    (simplest,) = [block for block in _blocks(page) if block.info == "json"]
    assert Wire().decode_message(simplest.text.encode()).args == (1, 2)


def test_every_field_of_the_envelopes_is_in_the_wire_format() -> None:
    """A writer in another language finds each of them."""
    text = (ROOT / "docs" / "wire-format.md").read_text(encoding="utf-8")
    result: TaskResult[None] = TaskResult(error=ValueError(1))
    for each in (TaskMessage("a", "b"), result, TaskProgress()):
        for name in each.to_dict():
            assert f"`{name}`" in text, name
