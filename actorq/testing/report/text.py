"""The report as plain text, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from actorq.testing.report.evidence import Evidence
from actorq.testing.report.findings import findings
from actorq.testing.report.wording import HEADS, gaps, headline, name_of, numbers, setting


#: Columns that a promise's text may take.
WIDTH = 46


def to_text(evidence: Evidence) -> str:
    """What is not covered, then the table, then the mutants."""
    found = findings(evidence)
    shown = [row for row in found.rows if row.tests or row.tried]
    rows = [*shown, *([found.others] if found.others else []), found.total]
    table = [
        ("promise", *HEADS),
        *(
            (_short(name_of(row.key, row.text) if row.key else row.text), *numbers(row))
            for row in rows
        ),
    ]
    parts = [["Not covered", *_indented(gaps(evidence, found))], _table(table)]
    if found.mutants:
        killed = [
            f"  {each.promise:>3}  {each.mutant}: {each.breaks}\n       caught by {each.caught_by}"
            for each in found.mutants
            if each.caught_by is not None
        ]
        parts.append(["Mutants, by the promise that each breaks", *killed])
    parts.append([f"{name}: {value}" for name, value in setting(evidence)])
    parts.append([f"{headline(found)}."])
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _indented(said: list[tuple[str, list[str]]]) -> list[str]:
    if not said:
        return ["  nothing was left out"]
    return [
        line for head, lines in said for line in (f"  {head}", *(f"    {each}" for each in lines))
    ]


def _short(text: str) -> str:
    return text if len(text) <= WIDTH else text[: WIDTH - 1].rstrip() + "…"


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    rule = "-" * max(map(len, lines))
    return [lines[0], rule, *lines[1:-1], rule, lines[-1]]
