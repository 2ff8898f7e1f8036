"""`--reload`: tells when the program's files have changed.  Needs watchfiles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
import trio

from actorq.cli import exits
from actorq.cli.output import CommandError


@attrs.frozen
class Watch:
    """The Python files below *folder*."""

    folder: Path

    @classmethod
    def of(cls, folder: Path) -> Watch:
        """A usage error if watchfiles is not installed."""
        try:
            import watchfiles  # noqa: F401
        except ImportError:
            raise CommandError(
                "--reload needs watchfiles, which is not installed",
                "install it with: pip install 'actorq[cli]'",
                exit_code=exits.USAGE,
            ) from None
        return cls(folder.resolve())

    async def __call__(self, changed: Callable[[str], None]) -> None:
        """Call *changed* for each change, with what has changed."""
        from watchfiles import PythonFilter, awatch

        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_set_when_cancelled, stop)
            async for changes in awatch(self.folder, watch_filter=PythonFilter(), stop_event=stop):
                paths = sorted({str(Path(path).relative_to(self.folder)) for _, path in changes})
                more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
                changed(paths[0] + more)


async def _set_when_cancelled(stop: trio.Event) -> None:
    """awatch waits in a thread, which hears of a cancellation after seconds, and of this at once."""
    try:
        await trio.sleep_forever()
    finally:
        stop.set()
