"""Everything at once: the web server and its workers, each a process of its own.  Ctrl-C ends them.

    python start.py [--port 8000] [--processes 2]

In two terminals it would be

    python app.py
    actorq worker jobs:broker --processes 2
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from functools import partial
from pathlib import Path

import trio


HERE = Path(__file__).parent
#: `jobs` and the like, and actorq itself if it is not installed
PACKAGES = (HERE, HERE.parent.parent)


async def main(port: int, processes: int) -> int:
    """Run until a signal comes or one of the two ends; the exit code."""
    python = sys.executable
    commands = {
        "server": [python, "app.py", "--port", str(port)],
        "workers": [
            python,
            "-m",
            "actorq",
            "worker",
            "jobs:broker",
            "--processes",
            str(processes),
            "--concurrency",
            "2",
        ],
    }
    path = os.pathsep.join([*map(str, PACKAGES), os.environ.get("PYTHONPATH", "")])
    start = partial(
        trio.run_process,
        cwd=HERE,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
        process_group=0,  # Ctrl-C reaches this process, which ends the others in good order
        deliver_cancel=_terminate,
    )
    failed: list[str] = []

    async def keep(name: str, command: list[str]) -> None:
        done = await start(command)
        failed.append(f"the {name} ended with exit code {done.returncode}")
        nursery.cancel_scope.cancel(reason=failed[0])

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            for name, command in commands.items():
                nursery.start_soon(keep, name, command)
            await anext(signals)
            nursery.cancel_scope.cancel(reason="a signal to end")
    if failed:
        print(failed[0], file=sys.stderr)
    return 1 if failed else 0


async def _terminate(process: trio.Process) -> None:
    """Trio's way to end a process kills it after 5 seconds; a worker has 30 to finish its jobs."""
    process.send_signal(signal.SIGTERM)
    with trio.move_on_after(40):
        await process.wait()
        return
    process.kill()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The web server and its workers.")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--processes", type=int, default=2, help="worker processes")
    arguments = parser.parse_args()
    try:
        import hypercorn  # noqa: F401
        import PIL  # noqa: F401
        import starlette  # noqa: F401
    except ModuleNotFoundError as missing:
        sys.exit(
            f"{missing.name} is not installed; `make web` installs what this example needs, or "
            f"pip install starlette hypercorn pillow '.[cli]'"
        )
    sys.exit(trio.run(main, arguments.port, arguments.processes))
