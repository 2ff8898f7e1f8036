"""`python -m actorq.engines.postgres [SCHEMA]`: the SQL that makes the schema, for an administrator."""

from __future__ import annotations

import sys

from actorq.engines.postgres.migrations import script


def main(arguments: list[str]) -> None:
    """Print it."""
    if len(arguments) > 1:
        sys.exit("usage: python -m actorq.engines.postgres [SCHEMA]")
    sys.stdout.write(script(arguments[0] if arguments else "actorq"))


if __name__ == "__main__":
    main(sys.argv[1:])
