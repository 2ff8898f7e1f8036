"""Orphans: who runs as process 1, in a container, inherits them, and must take note of their ends."""

from __future__ import annotations

import os
from collections.abc import Callable


def bury(is_ours: Callable[[int], bool]) -> int:
    """Take note of every ended child that is not ours; how many.

    Ours are left to those who wait for them: the first that has ended is looked at, not taken, and if
    it is ours, nothing more is done.  To be called again when ours have been taken.
    """
    buried = 0
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return buried
        if ended is None or is_ours(ended.si_pid):
            return buried
        os.waitpid(ended.si_pid, 0)
        buried += 1
