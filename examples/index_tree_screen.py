"""How `index_tree.py` shows itself: a bar that moves, lines that stay, a table at the end."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import textwrap
import time
from collections import Counter

import actorq


WIDTHS = {"files": 8, "lines": 11, "words": 11, "bytes": 13, "functions": 11, "classes": 10}


class Screen(logging.Handler):
    """One line that moves on a terminal, plain lines elsewhere; warnings of actorq above it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.moves = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self.full, self.empty = "█░" if (sys.stdout.encoding or "").lower() == "utf-8" else "#-"
        self.tenths = 0
        self.began = time.perf_counter()

    def bar(self, progress: actorq.TaskProgress) -> None:
        if self.moves:
            columns = shutil.get_terminal_size().columns
            width = max(10, min(40, columns - 50))
            filled = round(progress.progress * width)
            text = f"{self.clock()}{progress.progress:4.0%}  "
            text += self.full * filled + self.empty * (width - filled)
            text += f"  {progress.current:,} of {progress.total:,}"
            text += f"  {os.path.basename(progress.status)}"
            print(f"\r\x1b[2K{text[: columns - 1]}", end="", flush=True)
        elif (tenths := int(progress.progress * 10)) != self.tenths:
            self.tenths = tenths
            self.line(f"{progress.progress:4.0%}  {progress.current:,} of {progress.total:,}")

    def line(self, text: str) -> None:
        """A line that stays, above the bar."""
        self.clear()
        indent = " " * len(self.clock())
        columns = shutil.get_terminal_size().columns
        print(textwrap.fill(self.clock() + text, columns, subsequent_indent=indent), flush=True)

    def clear(self) -> None:
        """Take the bar away."""
        if self.moves:
            print("\r\x1b[2K", end="", flush=True)

    def clock(self) -> str:
        return f"{time.perf_counter() - self.began:5.1f} s  "

    def emit(self, record: logging.LogRecord) -> None:
        self.line(f"{record.name}: {record.getMessage()}")


def print_table(sums: dict[str, Counter[str]], rows: int = 8) -> None:
    """The suffixes with the most lines, the others together, and the total."""
    ordered = sorted(sums.items(), key=lambda item: -item[1]["lines"])
    if len(ordered) > rows + 1:
        rest = sum((counts for _, counts in ordered[rows:]), Counter())
        ordered[rows:] = [(f"{len(ordered) - rows} others", rest)]
    print(f"{'suffix':<10}" + "".join(f"{title:>{width}}" for title, width in WIDTHS.items()))
    total = sum(sums.values(), Counter())
    for name, counts in [*ordered, ("total", total)]:
        cells = (f"{counts[title]:>{width},}" for title, width in WIDTHS.items())
        print(f"{name[:10]:<10}" + "".join(cells))
