"""The README: what it shows runs, what it names is there."""

from __future__ import annotations

import re
import textwrap
import tomllib
from pathlib import Path

import pytest


ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON_BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
CONSOLE_BLOCKS = re.findall(r"^```console\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
EXAMPLES = [path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("examples/**/*.py"))]


def occurs(block: str, program: str) -> bool:
    """Whether *block* is in *program*, as it stands or indented."""
    first = block.splitlines()[0]
    indents = {
        match[1] for match in re.finditer(rf"^( *){re.escape(first)}$", program, re.MULTILINE)
    }
    return any(textwrap.indent(block, indent) in program for indent in indents)


@pytest.mark.parametrize("block", PYTHON_BLOCKS, ids=lambda block: block.splitlines()[0])
def test_every_python_block_is_part_of_an_example_that_runs(block: str) -> None:
    """A reader who copies it gets what was tested."""
    assert any(occurs(block, program) for program in EXAMPLES)


def test_there_are_python_blocks_and_the_quick_start_is_the_whole_program() -> None:
    """The first block needs nothing around it."""
    assert len(PYTHON_BLOCKS) >= 4
    program = (ROOT / "examples" / "quickstart.py").read_text(encoding="utf-8")
    assert program.endswith(PYTHON_BLOCKS[0])


def test_the_make_commands_that_it_names_are_in_the_makefile() -> None:
    """`make demo` and its like, in blocks and in the text."""
    code = "\n".join([*CONSOLE_BLOCKS, *re.findall(r"`(make [^`]*)`", README)])
    named = re.findall(r"\bmake (?:[A-Z]+=\S+ )*([a-z]+)", code)
    targets = re.findall(
        r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert {"demo", "test"} <= set(named) <= set(targets)


def test_it_names_every_extra_and_no_other() -> None:
    """`pip install '.[cron]'` installs something, and nobody has to look for the rest."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    named = re.findall(r"'\.\[([\w,]+)\]'", README)
    extras = {extra for names in named for extra in names.split(",")}
    assert extras == set(pyproject["project"]["optional-dependencies"])


def test_what_it_links_to_is_there() -> None:
    """No link within the repository leads nowhere."""
    links = re.findall(r"\]\((?!https?://)([^)#]+)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
