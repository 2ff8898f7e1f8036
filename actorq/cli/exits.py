"""Exit codes, of every command.

| code | meaning |
|------|---------|
| 0    | done; for `worker` and `scheduler`: ended in order when they were asked to |
| 1    | failed: the task failed, something is unhealthy, workers had to be killed or do not stay up |
| 2    | usage: the command line is wrong, or names a broker that is not there |
| 3    | not found: there is no such task, result, schedule, queue |
| 4    | the engine is unavailable: nothing was done |
| 130  | interrupted (Ctrl-C) |
| 143  | terminated (SIGTERM) |
"""

from __future__ import annotations

from typing import Final


OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
UNAVAILABLE: Final = 4
INTERRUPTED: Final = 130
TERMINATED: Final = 143
