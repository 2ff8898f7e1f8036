"""`python -m actorq.testing report`: run the tests, and tell what they have shown."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from importlib.metadata import entry_points
from pathlib import Path


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
    try:
        import pytest
    except ImportError:
        sys.exit("the report needs pytest: pip install 'actorq[testing]'")
    args = [*rest, *([f"--actorq-report={options.write}"] if options.write else [])]
    if not any(each.value == PLUGIN for each in entry_points(group="pytest11")):
        args = ["-p", PLUGIN, *args]  # an installation from before it was a plugin
    if not options.json:
        return int(pytest.main([*args, "--actorq-report"]))
    with tempfile.TemporaryDirectory(prefix="actorq-") as folder:
        path = Path(folder) / "report.json"
        with contextlib.redirect_stdout(sys.stderr):
            status = int(pytest.main([*args, f"--actorq-report={path}"]))
        if path.exists():
            sys.stdout.write(path.read_text(encoding="utf-8"))
        return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
