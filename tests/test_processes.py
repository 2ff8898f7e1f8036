"""Worker processes: real ones, killed with real signals."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio

import actorq
import process_tasks as tasks
from actorq import open_system


pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

ROOT = Path(__file__).parent.parent


#: What is no process of a task: the tracker of Python's multiprocessing, and the servers of other tests.
OTHERS = (b"resource_tracker", b"redis-server", b"postgres", b"guardian")


def children() -> set[int]:
    """This process's children that may be processes of tasks."""
    found = set()
    for thread in Path(f"/proc/{os.getpid()}/task").iterdir():
        with suppress(FileNotFoundError):  # a thread may end any time, and a process too
            for pid in (thread / "children").read_text().split():
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
                if command and not any(other in command for other in OTHERS):
                    found.add(int(pid))
    return found


@pytest.fixture(autouse=True)
def _no_child_is_left() -> Iterator[None]:
    """A39: no process survives its system."""
    before = children()
    yield
    assert children() == before


@pytest.fixture
def fifo(tmp_path: Path) -> str:
    """Where a process says that it runs."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return str(path)


async def _heard(fifo: str) -> int:
    """Wait until a process has said that it runs; its id."""
    return int(await trio.Path(fifo).read_text())


async def _gone(pid: int) -> bool:
    return not await trio.Path(f"/proc/{pid}").exists()


async def test_a_task_runs_in_another_process() -> None:
    """T07: its value comes back, by the annotations, and the process serves the next one."""
    async with open_system() as sys:
        first = await (await sys.enqueue(tasks.where)).result()
        second = await (await sys.enqueue(tasks.where)).result()
        assert first == second != os.getpid()
        assert children() == {first}
        handle = await sys.enqueue(tasks.add, Decimal("1.10"), Decimal("2.2"), times=2)
        assert await handle.result() == Decimal("6.60")
        assert await (await sys.enqueue(tasks.plain_task)).result() == "plain"
    assert tasks.where() == os.getpid()  # called, it runs here


async def test_as_many_processes_as_said(fifo: str) -> None:
    """The others wait for one; that is no part of their time."""
    async with open_system(processes=1, grace=0) as sys:
        await sys.enqueue(tasks.spin, fifo)
        pid = await _heard(fifo)
        waits = await sys.enqueue(tasks.where.using(timeout=60))
        await trio.testing.wait_all_tasks_blocked()
        assert children() == {pid}
        os.kill(pid, signal.SIGKILL)
        assert await waits.result() != pid


async def test_exceptions_come_back() -> None:
    """As from anywhere: builtin and declared ones as themselves, with the remote traceback."""
    async with open_system() as sys:
        with pytest.raises(ValueError, match="no tea") as caught:
            await (await sys.enqueue(tasks.fail, "chain")).result()
        assert isinstance(caught.value.__cause__, KeyError)
        remote = caught.value.__cause__.__cause__
        assert 'raise ValueError("no tea") from error' in str(remote)
        assert "attempt.py" not in str(remote)
        assert "trio_parallel" not in str(remote)
        with pytest.raises(tasks.Declared):
            await (await sys.enqueue(tasks.fail, "declared")).result()
        for how in ("undeclared", "interrupt"):
            with pytest.raises(actorq.TaskFailed, match=r"Undeclared: oh|KeyboardInterrupt"):
                await (await sys.enqueue(tasks.fail, how)).result()
        with pytest.raises(actorq.NotSerializable, match="return value"):
            await (await sys.enqueue(tasks.not_json)).result()
        with pytest.raises(actorq.TaskDefinitionError, match="returned a coroutine"):
            await (await sys.enqueue(tasks.returns_coroutine)).result()


DEATHS = [
    ("exit", 3, "ended by itself, with exit code 3"),
    ("sys.exit", 4, "ended by itself, with exit code 4"),
    ("SIGKILL", -signal.SIGKILL, r"killed by SIGKILL \(as the system does when memory"),
    ("SIGSEGV", -signal.SIGSEGV, r"killed by SIGSEGV"),
    ("SIGTERM", -signal.SIGTERM, "killed by SIGTERM"),
]


async def test_a_process_that_dies_is_a_failed_attempt() -> None:
    """The cause is named, and the next task has a process again."""
    async with open_system() as sys:
        for how, exitcode, text in DEATHS:
            with pytest.raises(actorq.WorkerProcessDied, match=text) as caught:
                await (await sys.enqueue(tasks.die, how)).result()
            assert caught.value.exitcode == exitcode
            assert caught.value.task_name == tasks.die.name
        assert await (await sys.enqueue(tasks.where)).result() in children()
        assert [dead.reason.split(":")[0] for dead in await sys.dead_tasks()] == [
            "WorkerProcessDied"
        ] * len(DEATHS)


async def test_it_is_retried_like_any_failure(tmp_path: Path) -> None:
    """By the task's policy."""
    retry = actorq.RetryPolicy(retries=1, base=0)
    async with open_system() as sys:
        once = tasks.die_once.using(retries=retry)
        outcome = await (await sys.enqueue(once, str(tmp_path / "marker"))).wait_result()
        assert (outcome.return_value, outcome.attempts) == ("second life", 2)


async def test_retries_look_at_the_error_itself() -> None:
    """Types that the policy names are known, though callers get a `TaskFailed` for them."""
    async with open_system() as sys:
        outcome = await (await sys.enqueue(tasks.fail_for_good)).wait_result()
        assert isinstance(outcome.error, actorq.TaskFailed)
        assert outcome.attempts == 1


async def test_a_process_that_died_idle_is_replaced() -> None:
    """Nobody's attempt fails for it."""
    async with open_system() as sys:
        pid = await (await sys.enqueue(tasks.where)).result()
        os.kill(pid, signal.SIGKILL)
        await trio.to_thread.run_sync(_until_ended, pid)
        assert await (await sys.enqueue(tasks.where)).result() != pid


async def test_cancelling_kills(fifo: str) -> None:
    """A function that never looks is gone when `cancel` has returned."""
    async with open_system() as sys:
        handle = await sys.enqueue(tasks.spin, fifo)
        pid = await _heard(fifo)
        assert await handle.cancel()
        assert await _gone(pid)
        with pytest.raises(actorq.TaskCancelled):
            await handle.result()


async def test_a_timeout_kills() -> None:
    """T11: the caller hears of it as soon as the time is over, and the process is gone."""
    async with open_system(processes=1) as sys:
        pid = await (await sys.enqueue(tasks.where)).result()  # its start is part of the time
        outcome = await (await sys.enqueue(tasks.spin.using(timeout=0.2), "")).wait_result()
        assert isinstance(outcome.error, actorq.TaskTimeout)
        assert outcome.execution_time < 5
        assert await _gone(pid)


async def test_closing_kills_what_the_grace_does_not_suffice_for(fifo: str) -> None:
    """A05, A39: within the grace and a second, and the task is given back."""
    broker = actorq.InMemoryBroker()
    async with open_system(broker, grace=0) as sys:
        await sys.enqueue(tasks.spin, fifo)
        pid = await _heard(fifo)
        start = trio.current_time()
    assert trio.current_time() - start < 2  # and a busy machine
    assert await _gone(pid)
    assert (await broker.statistics_of_queue()).ready == 1


async def test_the_body_s_exception_kills_too(fifo: str) -> None:
    """A39: however the system ends."""
    pids: list[int] = []

    async def body() -> None:
        async with open_system(grace=0) as sys:
            await sys.enqueue(tasks.spin, fifo)
            pids.append(await _heard(fifo))
            raise KeyError("body")

    with pytest.raises(KeyError, match="body"):
        await body()
    assert await _gone(pids[0])


async def test_logs_come_back_from_a_process() -> None:
    """Captured where they are made, from a failure too."""
    async with open_system() as sys:
        for fails in (False, True):
            outcome = await (await sys.enqueue(tasks.chat, fails)).wait_result()
            assert outcome.is_err is fails
            assert re.findall(r"(\w+) shop\.cart: (.*)", outcome.log or "") == [
                ("WARNING", "from process"),
                ("ERROR", "no tea"),
            ]


# --- what is refused ----------------------------------------------------------------------------


def test_what_no_process_could_import_is_refused_where_it_is_declared() -> None:
    """A lambda, a function in a function; and a call cannot choose another place."""

    def local() -> None: ...

    with pytest.raises(actorq.TaskDefinitionError, match="defined inside another function"):
        actorq.task(executor="process")(local)
    with pytest.raises(actorq.OptionError, match=r"executor='process'\)\(plain.function\)"):
        actorq.task(tasks.plain).using(executor="process")
    with pytest.raises(actorq.TaskDefinitionError, match="is a lambda"):
        actorq.task(name="short", executor="process")(lambda: None)


def test_what_was_typed_in_is_refused() -> None:
    """`__main__` without a file."""
    program = "import actorq\n@actorq.task(executor='process')\ndef f(): ...\n"
    ran = subprocess.run(
        [sys.executable, "-"], input=program, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "TaskDefinitionError: f is defined in no file" in ran.stderr


@pytest.mark.parametrize(
    ("task", "text"),
    [
        (tasks.needs_context, r"nothing can be injected \(ctx\)"),
        (tasks.shadowed, "that is <function _shadowed"),
    ],
)
async def test_what_a_process_would_not_find_is_refused(task: Any, text: str) -> None:
    """When it is enqueued for the first time, and when a system opens with it."""
    async with open_system() as sys:
        with pytest.raises(actorq.TaskDefinitionError, match=text):
            await sys.enqueue(task)
    with pytest.raises(actorq.TaskDefinitionError, match=text):
        async with open_system(tasks=[task]):
            pass


async def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without trio-parallel, the rest of actorq works."""
    monkeypatch.setitem(sys.modules, "trio_parallel", None)
    async with open_system() as system:
        with pytest.raises(actorq.UnsupportedOption, match=r'pip install "actorq\[process\]"'):
            await system.enqueue(tasks.where)


@pytest.mark.parametrize("wrong", [0, -1, True, "2", 1.5])
async def test_a_wrong_number_of_processes_is_refused(wrong: Any) -> None:
    """Before anything starts."""
    with pytest.raises(ValueError, match="processes expects a whole number >= 1"):
        async with open_system(processes=wrong):
            pass


# --- programs -----------------------------------------------------------------------------------

SCRIPT = """
import os, sys, time
from pathlib import Path
import actorq, trio

@actorq.task(executor="process")
def spin(fifo: str) -> None:
    Path(fifo).write_text(f"{os.getpid()}")
    while True:
        pass

async def main():
    async with actorq.open_system(grace=0) as system:
        await (await system.enqueue(spin, sys.argv[1])).wait_result()

if __name__ == "__main__":
    trio.run(main)
"""


@pytest.fixture
def program(tmp_path: Path, fifo: str) -> Iterator[subprocess.Popen[str]]:
    """A script whose `__main__` has the task, which runs."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, script, fifo],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        watchdog = threading.Timer(60, running.kill)
        watchdog.start()
        try:
            yield running
        finally:
            watchdog.cancel()
            running.kill()


def _until_ended(pid: int) -> None:
    """Wait for the end of a process, whoever's child it is."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        poll = select.poll()
        poll.register(handle)
        assert poll.poll(30_000), f"process {pid} lives on"
    finally:
        os.close(handle)


def test_ctrl_c_ends_processes_without_noise(program: subprocess.Popen[str], fifo: str) -> None:
    """The whole group gets the signal, as from a terminal: one traceback, the program's own."""
    pid = int(Path(fifo).read_text())
    os.killpg(program.pid, signal.SIGINT)
    _, errors = program.communicate(timeout=60)
    assert program.returncode in (1, 130, -signal.SIGINT)
    assert errors.count("KeyboardInterrupt") >= 1
    assert "in spin" not in errors
    assert "Process " not in errors
    _until_ended(pid)


def test_a_killed_program_leaves_no_process(program: subprocess.Popen[str], fifo: str) -> None:
    """A39: nobody is left to kill them, so they watch for the end of their parent."""
    pid = int(Path(fifo).read_text())
    program.kill()
    program.wait(60)
    _until_ended(pid)
