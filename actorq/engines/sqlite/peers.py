"""Peers: how the processes that share a file wake one another."""

from __future__ import annotations

import os


def ring(path: str | os.PathLike[str], *topics: str) -> None:
    """Tell who listens to these topics of the file at *path*, in this process and others.

    From any thread, with or without Trio.  Never raises, never blocks: who does not hear it looks
    by itself within its `recheck` seconds.
    """
    del path, topics
