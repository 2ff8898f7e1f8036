"""Index a directory tree, one task per file, while things go wrong on purpose.

`make demo` runs this on the standard library of the Python that runs it.  A parent task enqueues
one task per file, adds up what comes back, and reports progress, which is pushed to the bar.
Every 50th file fails at its first attempt and is tried again; midway, the broker crashes, and
with it falls what stands after it: middleware, worker pool, scheduler.  They are restarted, the
jobs that were running are given back and run again, the parent among them.  At the end, every
file's facts are compared with those of a plain loop without any queue.

Run it: python examples/index_tree.py --help
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import logging
import os
import sys
import sysconfig
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import trio

import actorq
import actorq.testing
from index_tree_screen import Screen, print_table


SKIPPED = {"__pycache__", "site-packages", "dist-packages"}
FAULT_EVERY = 50  # files
CRASH_AT = 0.4  # of the progress


# --- the work -----------------------------------------------------------------------------------


@attrs.frozen
class Facts:
    """What we want to know of a file."""

    size: int = 0
    lines: int = 0
    words: int = 0
    sha256: str = ""
    functions: int = 0
    classes: int = 0
    problem: str | None = None


def measure(path: str) -> Facts:
    """Read and hash a file, parse it if it is Python; that it cannot be read is a fact, too."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        return Facts(problem=f"cannot be read: {error.strerror or error}")
    functions = classes = 0
    problem = None
    if path.endswith(".py"):
        try:
            for statement in statements(ast.parse(data)):
                functions += isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)
                classes += isinstance(statement, ast.ClassDef)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            problem = f"cannot be parsed: {type(error).__name__}"
    return Facts(
        size=len(data),
        lines=data.count(b"\n"),
        words=len(data.split()),
        sha256=hashlib.sha256(data).hexdigest(),
        functions=functions,
        classes=classes,
        problem=problem,
    )


def statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Every statement: `ast.walk`, which visits each expression too, takes ten times as long."""
    waiting: list[ast.AST] = [*tree.body]
    while waiting:
        node = waiting.pop()
        yield node
        for field in ("body", "orelse", "finalbody", "handlers", "cases"):
            waiting.extend(getattr(node, field, ()))


# --- the tasks ----------------------------------------------------------------------------------


class Runs(actorq.Middleware):
    """Counts attempts, those that failed, and those that a crash made begin once more."""

    def __init__(self) -> None:
        self.begun: Counter[str] = Counter()  #: by task id
        self.failures = 0

    def pre_execute(self, message: actorq.TaskMessage) -> actorq.TaskMessage:
        self.begun[message.task_id] += 1
        return message

    def on_error(
        self, message: actorq.TaskMessage, result: actorq.TaskResult[Any], error: Exception
    ) -> None:
        self.failures += 1

    @property
    def repeated(self) -> int:
        """Runs that neither were a task's first nor followed a failure."""
        return self.begun.total() - len(self.begun) - self.failures


runs = Runs()
broker = (
    actorq.InMemoryBroker()
    .with_result_backend(actorq.InMemoryResultBackend(max_stored_results=-1))
    .with_middlewares(runs)
)


@attrs.define
class Index:
    """The parent's result; whatever JSON can carry may be one."""

    facts: dict[str, Facts] = attrs.field(factory=dict)  #: by path
    attempts: dict[str, int] = attrs.field(factory=dict)  #: by path
    failed: dict[str, str] = attrs.field(factory=dict)  #: tasks that failed for good, and why


@broker.task(retries=3)
def index_file(path: str, number: int, ctx: actorq.Context = actorq.Depends()) -> Facts:
    """A plain function: a worker runs it in a thread."""
    if number % FAULT_EVERY == 0 and ctx.attempt == 1:
        raise OSError("a fault on purpose, at the first attempt")
    return measure(path)


@broker.task
async def index_all(paths: list[str], ctx: actorq.Context = actorq.Depends()) -> Index:
    """One task per file, and what they found.

    May run more than once.  The files' tasks have ids that follow from this one's, so enqueueing
    them again is harmless: an id is accepted once, and what has a result is not run again.
    """
    index = Index()
    step = max(1, len(paths) // 200)

    async def follow(number: int, path: str) -> None:
        task = index_file.using(task_id=f"{ctx.task_id}/{number}")
        handle = await ctx.system.enqueue(task, path, number)
        outcome = await handle.wait_result()  # meanwhile our slot is free for others
        index.attempts[path] = outcome.attempts
        if outcome.return_value is None:
            index.failed[path] = str(outcome.error)
        else:
            index.facts[path] = outcome.return_value
        done = len(index.attempts)
        if done % step == 0 or done == len(paths):
            await ctx.set_progress(
                actorq.TaskProgress(
                    progress=done / len(paths), status=path, current=done, total=len(paths)
                )
            )

    async with trio.open_nursery() as nursery:
        for number, path in enumerate(paths, start=1):
            nursery.start_soon(follow, number, path)
    return index


# --- the client ---------------------------------------------------------------------------------


@attrs.frozen
class Report:
    """What the queue has found, and what happened to it meanwhile."""

    index: Index
    seconds: float
    restarts: dict[str, int]
    failures: int  #: attempts that raised
    repeated: int  #: jobs that were given back by the crash and begun again
    dead_tasks: int
    dead_letters: int


async def run_queue(paths: list[str], screen: Screen, concurrency: int, crash: bool) -> Report:
    """Index *paths* by the queue."""
    began = time.perf_counter()
    async with actorq.open_system(broker, concurrency=concurrency, grace=0) as system:
        handle = await system.enqueue(index_all, paths)
        seen = 0
        async for progress in handle.progress():
            done = progress.current or 0
            if done < seen:
                screen.line("the parent runs again; what has a result already is not run again")
            seen = done
            screen.bar(progress)
            if crash and progress.progress >= CRASH_AT:
                crash = False
                screen.line(f"crashing the broker on purpose, at {done:,} files")
                actorq.testing.crash(system.actor("broker"))
        index = await handle.result()
        seconds = time.perf_counter() - began
        dead = (
            await system.dead_tasks()
        )  # answered by the broker's new life, if it has just crashed
        actors = ("results", "broker", "middleware", "pool", "scheduler")
        return Report(
            index=index,
            seconds=seconds,
            restarts={name: system.actor(name).statistics().restarts for name in actors},
            failures=runs.failures,
            repeated=runs.repeated,
            dead_tasks=len(dead),
            dead_letters=len(system.dead_letters),
        )


# --- what to tell --------------------------------------------------------------------------------


def sums_by_suffix(facts: dict[str, Facts]) -> dict[str, Counter[str]]:
    sums: dict[str, Counter[str]] = {}
    for path, one in facts.items():
        sums.setdefault(Path(path).suffix or "(none)", Counter()).update(
            files=1,
            lines=one.lines,
            words=one.words,
            bytes=one.size,
            functions=one.functions,
            classes=one.classes,
        )
    return sums


def print_report(report: Report, concurrency: int) -> None:
    index = report.index
    attempts = Counter(index.attempts.values())
    problems = Counter(
        one.problem.split(":")[0] for one in index.facts.values() if one.problem is not None
    )
    retries = report.failures - len(index.failed)
    tries = ", ".join(
        f"{files:,} at attempt {number}" for number, files in sorted(attempts.items())
    )
    rows = {
        "tasks": f"{len(index.attempts):,} files and their parent, {concurrency} at a time",
        "ended": tries,
        "retries": f"{retries} (every {FAULT_EVERY}th file fails once, on purpose)",
        "restarts": ", ".join(f"{name} {count}" for name, count in report.restarts.items()),
        "repeated": f"{report.repeated} given back when the pool went down, and begun again",
        "dead": f"{report.dead_tasks} tasks, {report.dead_letters} letters",
        "problems": ", ".join(f"{count} {what}" for what, count in problems.items()) or "none",
    }
    for name, text in rows.items():
        print(f"{name:<10}{text}")


# --- all of it ----------------------------------------------------------------------------------


def list_files(root: Path) -> list[str]:
    """Every file below *root*, in order; no links to folders, no pipes or devices."""
    found: list[str] = []

    def note(error: OSError) -> None:
        print(f"cannot be listed: {error.filename}: {error.strerror}")

    for folder, folders, names in os.walk(root, onerror=note):
        folders[:] = [name for name in folders if name not in SKIPPED]
        paths = (os.path.join(folder, name) for name in names)
        found += [path for path in paths if os.path.isfile(path) or not os.path.exists(path)]
    return sorted(found)


def differences(found: Index, expected: dict[str, Facts]) -> Iterator[str]:
    """What the queue found and the plain loop did not, or the other way round."""
    for path, reason in found.failed.items():
        yield f"{path}: its task failed: {reason}"
    for path in sorted({*found.facts, *expected} - {*found.failed}):
        if found.facts.get(path) != expected.get(path):
            yield f"{path}: {found.facts.get(path)} by the queue, {expected.get(path)} without"


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    def at_least_one(text: str) -> int:
        if not text.isdecimal() or int(text) < 1:
            raise argparse.ArgumentTypeError(f"expected a whole number >= 1, got {text!r}")
        return int(text)

    parser = argparse.ArgumentParser(
        description="Index a directory tree, one task per file, while things go wrong on purpose.",
        epilog=f"Folders called {', '.join(sorted(SKIPPED))} are left out.",
    )
    standard_library = sysconfig.get_paths()["stdlib"]
    parser.add_argument("path", nargs="?", default=standard_library, help="default: %(default)s")
    parser.add_argument("--limit", type=at_least_one, metavar="N", help="the first N files only")
    parser.add_argument(
        "--concurrency",
        type=at_least_one,
        default=4,
        metavar="N",
        help="files at a time; default: 4",
    )
    parser.add_argument("--no-crash", action="store_true", help="do not crash the broker midway")
    options = parser.parse_args(arguments)
    root = Path(options.path)
    if not root.exists():
        parser.error(f"there is no {options.path}")
    if not root.is_dir():
        parser.error(f"{options.path} is not a directory")
    options.files = list_files(root)[: options.limit]
    if not options.files:
        parser.error(f"there are no files in {options.path}")
    return options


def index_and_check(options: argparse.Namespace, screen: Screen) -> int:
    files: list[str] = options.files
    print(f"actorq demo: {len(files):,} files, one task each\nin {options.path}\n")
    report = trio.run(run_queue, files, screen, options.concurrency, not options.no_crash)
    screen.line("the index is complete")
    print()
    print_table(sums_by_suffix(report.index.facts))
    print()
    print_report(report, options.concurrency)

    print("\nThe same once more, by a plain loop without a queue ...\n", flush=True)
    began = time.perf_counter()
    expected: dict[str, Facts] = {}
    for number, path in enumerate(files, start=1):
        expected[path] = measure(path)
        if screen.moves:
            screen.bar(
                actorq.TaskProgress(
                    progress=number / len(files), status=path, current=number, total=len(files)
                )
            )
    screen.clear()
    seconds = time.perf_counter() - began
    print(f"time      {report.seconds:.1f} s by the queue, {seconds:.1f} s by a plain loop")
    different = list(differences(report.index, expected))
    if different:
        print(f"verified: {len(different)} of {len(files):,} files DIFFER", *different, sep="\n  ")
        return 1
    print(f"verified: identical, all {len(files):,} files")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    warnings.simplefilter("ignore", SyntaxWarning)  # other people's sources: not our business
    warnings.simplefilter("ignore", DeprecationWarning)
    screen = Screen()
    log = logging.getLogger("actorq")
    log.addHandler(screen)
    log.propagate = False
    try:
        return index_and_check(parsed(arguments), screen)
    except KeyboardInterrupt:
        screen.clear()
        print("interrupted: every actor has stopped, nothing was left behind")
        return 130


if __name__ == "__main__":
    sys.exit(main())
