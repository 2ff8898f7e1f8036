"""The command line: `actorq ...`, an extra (`pip install 'actorq[cli]'`).

Each command is a module in `commands/`, imported when it is called.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from actorq.cli import exits, streams


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command, and exit as `actorq.cli.exits` says."""
    streams.settle()
    try:
        from actorq.cli.app import run
    except ModuleNotFoundError as missing:
        if (missing.name or "").split(".")[0] not in {"click", "rich"}:
            raise
        sys.stderr.write(
            f"error: the command line needs {missing.name}, which is not installed\n"
            f"  install it with: pip install 'actorq[cli]'\n"
        )
        sys.exit(exits.USAGE)
    sys.exit(run(arguments))
