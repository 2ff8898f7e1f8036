"""`python -m actorq.testing report`: run the tests, and tell what they have shown."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import subprocess
import sys
import tempfile
from importlib.metadata import entry_points
from pathlib import Path
from typing import TextIO


PLUGIN = "actorq.testing.plugin"


def main(argv: list[str]) -> int:
    """What `python -m actorq.testing` does; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m actorq.testing", description="Tools for testing code on actorq."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    report = commands.add_parser(
        "report",
        help="run the tests with pytest, and print which promises were tried how hard",
        description="Run the tests with pytest, and print which promises were tried how hard, which "
        "mutants were caught, and what is not covered. All other arguments are pytest's.",
        usage="python -m actorq.testing report [--write PATH] [--json] [pytest's arguments]",
        allow_abbrev=False,
    )
    report.add_argument("--write", metavar="PATH", help="write it there, as .md, .txt or .json")
    report.add_argument(
        "--json", action="store_true", help="print it as JSON; what pytest prints goes to stderr"
    )
    options, rest = parser.parse_known_args(argv)
    if importlib.util.find_spec("pytest") is None:
        sys.exit("the report needs pytest: pip install 'actorq[testing]'")
    args = [*rest, *([f"--actorq-report={options.write}"] if options.write else [])]
    if not any(each.name == "actorq" for each in entry_points(group="pytest11")):
        args = ["-p", PLUGIN, *args]  # an installation from before it was a plugin
    if not options.json:
        return run_pytest([*args, "--actorq-report"], sys.stdout)
    with tempfile.TemporaryDirectory(prefix="actorq-") as folder:
        path = Path(folder) / "report.json"
        status = run_pytest([*args, f"--actorq-report={path}"], sys.stderr)
        if path.exists():
            sys.stdout.write(path.read_text(encoding="utf-8"))
        return status


def run_pytest(args: list[str], out: TextIO) -> int:
    """Its exit status.  In a process of its own: here actorq is imported already, and pytest minds."""
    process = subprocess.Popen([sys.executable, "-m", "pytest", *args], stdout=out)
    while True:
        with contextlib.suppress(KeyboardInterrupt):  # it has heard of it too, and will end
            return process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
