"""Tables and lines for people, in which what users wrote is text and never markup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rich.table import Table
from rich.text import Text


#: Columns between two cells.
GAP: Final = 2
#: What is left of a column that gives way.
LEAST: Final = 8


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]], width: int) -> Table:
    """No lines, quiet heads; as wide as it needs, at most *width*.

    A column whose head begins with `>` is set to the right; those whose heads end with `~` give way if
    there is not room for all.  A cell is text as it is, unless it is one of rich's already.
    """
    cells = [[cell if isinstance(cell, Text) else Text(str(cell)) for cell in row] for row in rows]
    names = [head.removeprefix(">").removesuffix("~") for head in heads]
    widths = [
        max([len(name), *[row[index].cell_len for row in cells]])
        for index, name in enumerate(names)
    ]
    over = sum(widths) + GAP * (len(heads) - 1) - width
    for index, head in enumerate(heads):
        if over > 0 and head.endswith("~"):
            taken = min(over, max(0, widths[index] - LEAST))
            widths[index] -= taken
            over -= taken
    made = Table(box=None, pad_edge=False, header_style="dim")
    for head, name, wide in zip(heads, names, widths, strict=True):
        made.add_column(
            name,
            justify="right" if head.startswith(">") else "left",
            width=wide,
            no_wrap=True,
            overflow="ellipsis",
        )
    for row in cells:
        made.add_row(*row)
    return made


def styled(text: object, style: str) -> Text:
    """Text in a style."""
    return Text(str(text), style=style)
