"""The report as a page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from actorq.testing.report.evidence import Evidence
from actorq.testing.report.findings import Findings, findings
from actorq.testing.report.wording import HEADS, gaps, headline, name_of, numbers, setting


HOW = """\
## How this page is made

`python -m actorq.testing report --write PATH` runs the tests and writes it;
so does pytest with `--actorq-report=PATH`. Nobody edits it.
This one was written by `{command}`.

* **Promises** are the numbered ones of actorq; their full text is `docs/semantics.md` in its repository.
  A test says which it is about by `@pytest.mark.promise(28, 31)`,
  or by its place in a contract of `actorq.testing`. A project's own promises are words.
  A test that is about several stands in each of their rows, and once in the last.
* **Tests** ran; those that were skipped are not counted.
* **Examples** are the inputs that Hypothesis drew, without those that a test refused.
  A test without Hypothesis is one.
* **Simulations** are programs that ran in virtual time under a schedule of their own;
  **virtual hours** went by in them.
* **Crash points** are moments at which a whole simulated process was killed, one by one.
  Crashes of single actors are part of the examples.
* **Mutants** are broken on purpose, each in one way.
  One is caught when a test fails that names the promise that it breaks.
  What was tried on mutants counts in no other column.
* A 0 says that nothing of that kind was tried for this promise, not that nothing was found.
"""


def to_markdown(evidence: Evidence) -> str:
    """What is not covered, then the table, the mutants, and how it came to be."""
    found = findings(evidence)
    said = gaps(evidence, found)
    parts = ["# Verification", f"**{headline(found)}.**"]
    parts.append(_lines(f"* {name}: {value}" for name, value in setting(evidence)))
    parts.append("## What is not covered")
    for head, lines in said:
        parts += [f"**{head}**", _lines(f"* {_escape(line)}" for line in lines)]
    if not said:
        parts.append("Nothing was left out: every promise has tests, and all of them passed.")
    parts += ["## Promises", _promises(found)]
    if found.mutants:
        parts += ["## Mutants", _mutants(found)]
    parts.append(HOW.format(command=evidence.setting.command).rstrip())
    return "\n\n".join(parts) + "\n"


def _promises(found: Findings) -> str:
    rows = [(name_of(row.key, row.text), *numbers(row)) for row in found.rows]
    if found.others is not None:
        rows.append((f"*{found.others.text}*", *numbers(found.others)))
    rows.append((f"**{found.total.text}**", *numbers(found.total)))
    return _table(("promise", *HEADS), rows, right=len(HEADS))


def _mutants(found: Findings) -> str:
    rows = [
        (
            str(each.promise),
            each.mutant,
            each.breaks,
            "**it survived**" if each.caught_by is None else f"`{each.caught_by}`",
        )
        for each in found.mutants
    ]
    return _table(("promise", "mutant", "what it does", "caught by"), rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], right: int = 0) -> str:
    rules = ["---"] * (len(heads) - right) + ["---:"] * right
    lines = [heads, rules, *([_escape(cell) for cell in row] for row in rows)]
    return _lines(f"| {' | '.join(line)} |" for line in lines)


def _escape(text: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", text.replace("\n", " "))


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)
