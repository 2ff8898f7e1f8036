"""The journal: what the parent of worker processes has to say, one line for each event.

To stderr for people, beside the logs of the children; with `--json` one object each to stdout.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from datetime import UTC, datetime
from typing import Any

import attrs

from actorq.cli.output import Output
from actorq.cli.streams import leads_nowhere


@attrs.frozen
class Journal:
    """Says what happens."""

    name: str  #: of the program: worker or scheduler
    output: Output

    def say(self, event: str, text: str, **fields: Any) -> None:
        """One event: *text* for people, *fields* for programs.

        Nothing is raised if nobody can hear it: the processes matter more.
        """
        try:
            self._write(event, text, fields)
        except BrokenPipeError:  # `| head`, or a log's keeper that has died
            leads_nowhere(self.output.stream if self.output.json else sys.stderr)
        except OSError:
            return  # a full disk may have room for the next

    def _write(self, event: str, text: str, fields: dict[str, Any]) -> None:
        if self.output.json:
            moment = datetime.now(UTC).isoformat(timespec="milliseconds")
            self.output.line({"at": moment, "event": event, "text": text, **fields})
            return
        now = time.time()
        clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
        sys.stderr.write(f"{clock},{int(now % 1 * 1000):03d} {self.name}: {text}\n")
        sys.stderr.flush()


def tell_systemd(state: str) -> None:
    """Such as READY=1, if a unit of `Type=notify` has started us; nothing otherwise."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to_systemd:
        try:
            to_systemd.sendto(state.encode(), address)
        except OSError:
            return  # it is a courtesy
