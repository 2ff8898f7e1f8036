"""The parent of worker processes: what it restarts, when it gives up, whom it takes along."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
import trio

from actorq.cli import exits
from cli.running import ALONE, gone, is_alive, running


pytestmark = pytest.mark.engine

TERM, INT, KILL = signal.SIGTERM, signal.SIGINT, signal.SIGKILL
WORKER = ("worker", "jobs:broker", "--json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose program is a broker without work."""
    (tmp_path / "jobs.py").write_text(ALONE)
    return tmp_path


async def test_a_killed_process_is_replaced(folder: Path) -> None:
    """Another comes, after a pause, and the rest goes on."""
    async with running(folder, *WORKER, "--processes", "2") as program:
        assert (await program.event("ready"))["processes"] == 2
        first, second = await program.event("started"), await program.event("started", nth=2)
        os.kill(first["pid"], KILL)
        died = await program.event("died")
        assert died["pid"] == first["pid"]
        assert died["code"] == -KILL
        assert 0.5 <= died["restart_in"] <= 0.75
        assert (await program.event("started", nth=3))["process"] == first["process"]
        assert is_alive(second["pid"])
        program.signal(TERM)
        assert await program.end() == exits.OK


async def test_a_process_that_dies_at_its_start_is_given_up_after_so_many(folder: Path) -> None:
    """A31: ever later, and then the parent ends and says why."""
    (folder / "jobs.py").write_text("raise RuntimeError('no such luck')")
    async with running(folder, *WORKER, "--max-restarts", "2") as program:
        assert await program.end() == exits.FAILED
        first, second = await program.event("died"), await program.event("died", nth=2)
        assert first["restart_in"] <= 0.75
        assert 1.0 <= second["restart_in"] <= 1.5
        gave_up = await program.event("gave up")
        assert "3 deaths in 60 s" in gave_up["text"]
        assert program.events().count("started") == 3
        assert any("no such luck" in line for line in program.err.seen)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("worker", "absent:broker"), "there is no module 'absent'"),
        (("worker", "jobs:brocker"), "its brokers: broker"),
        (("worker", "jobs:broker", "--import", "absent"), "--import: there is no module"),
        (("worker", "jobs:broker", "--max-memory", "1M"), "--max-memory 1M is less than"),
        (("worker", "memory:broker"), "no other process can look into it"),
        (("worker",), "no broker is named"),
        (("worker", "jobs:broker", "--queues", "a=none"), "expected a number"),
        (("worker", "jobs:broker", "--max-memory", "many"), "expected a size"),
        (("scheduler", "memory:broker"), "no other process can look into it"),
    ],
)
async def test_what_cannot_work_is_a_usage_error_at_once(
    folder: Path, arguments: tuple[str, ...], words: str
) -> None:
    """Once, and without a second try."""
    (folder / "memory.py").write_text("import actorq\nbroker = actorq.InMemoryBroker()\n")
    async with running(folder, *arguments) as program:
        assert await program.end() == exits.USAGE
        assert sum(words in line for line in program.err.seen) == 1, program.err.seen


async def test_an_engine_that_is_not_there_is_said_in_one_line(folder: Path) -> None:
    """And tried again: it may come."""
    (folder / "jobs.py").write_text("import actorq\nbroker = actorq.SQLiteBroker('queue.db')\n")
    (folder / "queue.db").write_text("this is no database" * 100)
    async with running(folder, *WORKER) as program:
        assert (await program.event("died"))["code"] == exits.UNAVAILABLE
        said = f"error: worker-1: {folder / 'queue.db'}: this is no SQLite"
        assert program.err.seen[-1].startswith(said)
        assert not any("Traceback" in line for line in program.err.seen)
        (folder / "queue.db").unlink()
        await program.event("ready")


async def test_a_killed_parent_takes_its_processes_along(folder: Path) -> None:
    """A32: nobody would end them otherwise."""
    async with running(folder, *WORKER, "--processes", "2", "--scheduler") as program:
        await program.event("ready")
        pids = [(await program.event("started", nth=n))["pid"] for n in (1, 2, 3)]
        program.process.kill()
        for pid in pids:
            await gone(pid)


async def test_a_killed_parent_takes_along_who_does_not_hear(folder: Path) -> None:
    """A32: an event loop that stands still is killed after its grace, and what it started with it."""
    (folder / "jobs.py").write_text(ALONE + STUCK)
    async with running(folder, *WORKER, "--grace", "0") as program:
        await program.event("ready")
        pid = (await program.event("started"))["pid"]
        other = int((await program.says("sleeper ")).split()[1])
        program.process.kill()
        await gone(pid)
        await gone(other)


async def test_an_event_loop_that_stands_still_is_killed_and_replaced(folder: Path) -> None:
    """A31: not one that is only quiet, and not before it is due."""
    (folder / "jobs.py").write_text(ALONE + STUCK.replace("0.5", "2"))
    limit = 1.0
    async with running(folder, *WORKER, "--grace", "0", "--max-silence", str(limit)) as program:
        await program.event("ready")
        pid = (await program.event("started"))["pid"]
        other = int((await program.says("sleeper ")).split()[1])
        assert "silent" not in program.events()
        assert (await program.event("silent"))["pid"] == pid
        assert (await program.event("died"))["code"] == -KILL
        await gone(other)
        await program.event("started", nth=2)


async def test_a_parent_that_was_stopped_takes_nobody_for_silent(folder: Path) -> None:
    """What its processes said meanwhile is read first."""
    async with running(folder, *WORKER, "--max-silence", "1") as program:
        await program.event("ready")
        program.signal(signal.SIGSTOP)
        await trio.sleep(3)  # the time itself is what is tried
        program.signal(signal.SIGCONT)
        await trio.sleep(1)
        program.signal(TERM)
        assert await program.end() == exits.OK
        assert program.events() == ["started", "ready", "ending", "stopped", "ended"]


@pytest.mark.parametrize("stream", ["out", "err"])
async def test_nobody_reads_what_it_says(folder: Path, stream: str) -> None:
    """A log's keeper that dies takes nobody along: tasks go on, and so does the watch over them."""
    ready = folder / "ready"
    async with running(folder, *WORKER, "--ready-file", str(ready)) as program:
        await program.event("ready")
        pid = (await program.event("started"))["pid"]
        await (program.out if stream == "out" else program.err).pipe.aclose()
        ready.unlink()
        os.kill(pid, KILL)
        while not ready.exists():
            await trio.sleep(0.01)
        program.signal(TERM)
        assert await program.process.wait() == exits.OK


async def test_the_parent_and_who_reads_its_log_are_killed(folder: Path) -> None:
    """A32: its processes end all the same."""
    async with running(folder, *WORKER) as program:
        await program.event("ready")
        pid = (await program.event("started"))["pid"]
        await program.err.pipe.aclose()
        program.process.kill()
        await gone(pid)


STUCK = """
import contextlib, subprocess, time

@contextlib.asynccontextmanager
async def life(state):
    async def stand_still():
        await trio.sleep(0.5)
        print("sleeper", subprocess.Popen(["sleep", "1000"]).pid)
        time.sleep(1000)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stand_still)
        yield

broker.with_lifespan(life)
"""


async def test_the_first_process_of_a_container_buries_orphans(folder: Path) -> None:
    """What tasks have left behind would fill the table of processes."""
    (folder / "jobs.py").write_text(ALONE + LEAVES_AN_ORPHAN)
    # as process 1 does: it becomes the parent of those below it whose own parents have died
    adopt = (
        "import ctypes, os, sys; assert not ctypes.CDLL(None).prctl(36, 1, 0, 0, 0);"
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    async with running(folder, *WORKER, prefix=(sys.executable, "-c", adopt)) as program:
        orphan = int((await program.says("orphan ")).split()[1])
        await program.event("ready")
        await gone(orphan)
        while Path(f"/proc/{orphan}").exists():  # a zombie until it is buried
            await trio.sleep(0.01)
        program.signal(TERM)
        assert await program.end() == exits.OK


LEAVES_AN_ORPHAN = """
import subprocess
print("orphan", subprocess.check_output("sleep 0.3 >/dev/null & echo $!", shell=True, text=True))
"""


async def test_a_readiness_file_is_there_while_all_are_ready(folder: Path) -> None:
    """For probes."""
    (rest := folder / "rest").mkdir()
    ready = rest / "ready"
    ready.touch()  # a parent that was killed has left it
    (folder / "jobs.py").write_text(
        f"import os\nprint('there:', os.path.exists({str(ready)!r}))" + ALONE
    )
    async with running(folder, *WORKER, "--ready-file", str(ready)) as program:
        await program.says("there: False")
        await program.event("ready")
        assert ready.exists()
        os.kill((await program.event("started"))["pid"], KILL)
        await program.event("died")
        assert not ready.exists()
        await program.event("started", nth=2)
        program.signal(TERM)
        assert await program.end() == exits.OK
        assert not ready.exists()


async def test_a_readiness_file_that_cannot_be(folder: Path) -> None:
    """Is a usage error; one that cannot be any more brings nobody down."""
    async with running(folder, *WORKER, "--ready-file", "nowhere/ready") as program:
        assert await program.end() == exits.USAGE
        assert program.err.seen[-1].startswith("error: --ready-file: ")
    (rest := folder / "rest").mkdir()
    async with running(folder, *WORKER, "--ready-file", str(rest / "ready")) as program:
        await program.event("ready")
        shutil.rmtree(rest)
        os.kill((await program.event("started"))["pid"], KILL)
        await program.event("started", nth=2)
        program.signal(TERM)
        assert await program.end() == exits.OK


async def test_systemd_is_told(folder: Path) -> None:
    """As a unit of Type=notify expects."""
    address = str(folder / "notify")
    with trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_DGRAM) as systemd:
        await systemd.bind(address)
        async with running(folder, *WORKER, NOTIFY_SOCKET=address) as program:
            assert await systemd.recv(100) == b"READY=1"
            program.signal(TERM)
            assert await systemd.recv(100) == b"STOPPING=1"
            assert await program.end() == exits.OK


async def test_a_changed_file_starts_all_anew(folder: Path) -> None:
    """--reload: a file that cannot be read is said, and waited out."""
    (folder / "jobs.py").write_text(ALONE + "print('version 1')\n")
    async with running(folder, *WORKER, "--reload") as program:
        await program.event("ready")
        await program.says("version 1")
        (folder / "jobs.py").write_text(ALONE + "print('version 2'\n")
        await program.event("waiting")
        assert any("SyntaxError" in line for line in program.err.seen)
        (folder / "jobs.py").write_text(ALONE + "print('version 3')\n")
        await program.says("version 3")
        program.signal(INT)
        assert await program.end() == exits.OK
        assert "died" not in program.events()


@pytest.mark.parametrize("number", [TERM, INT])
async def test_a_signal_while_processes_begin(folder: Path, number: signal.Signals) -> None:
    """A module that takes long to import holds nothing up."""
    (folder / "jobs.py").write_text("print('begins')\nimport time\ntime.sleep(1000)\n")
    async with running(folder, *WORKER, "--processes", "2") as program:
        await program.says("begins")
        program.signal(number)
        assert await program.end() == exits.OK


async def test_a_signal_in_the_pause_before_a_restart(folder: Path) -> None:
    """There is nobody to wait for."""
    async with running(folder, *WORKER) as program:
        await program.event("ready")
        os.kill((await program.event("started"))["pid"], KILL)
        await program.event("died")
        program.signal(TERM)
        assert await program.end() == exits.OK
        assert program.events().count("started") == 1


async def test_a_scheduler_of_its_own(folder: Path) -> None:
    """Begins and ends as a worker does."""
    async with running(folder, "scheduler", "jobs:broker", "--json") as program:
        assert "a scheduler" in (await program.event("ready"))["text"]
        program.signal(TERM)
        assert await program.end() == exits.OK


async def test_a_worker_without_tasks_says_so(folder: Path) -> None:
    """Somebody has forgotten an import."""
    async with running(folder, *WORKER) as program:
        assert "worker-1 WARNING" in await program.says("jobs:broker knows no task")


async def test_people_get_lines_with_the_name_of_the_process(folder: Path) -> None:
    """On stderr; stdout is the tasks'."""
    async with running(folder, "worker", "jobs:broker", "-p", "2", "-q", "a=3,b=1") as program:
        line = await program.says("ready: ")
        assert line.endswith("ready: 2 processes, 100 tasks at a time in each, queues a=3, b=1")
        program.signal(INT)
        await program.says("SIGINT: no new tasks; running ones have 30 s")
        assert await program.end() == exits.OK
        assert program.out.seen == []
