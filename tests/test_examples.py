"""The examples: each is run as a user runs it, and says what it should."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import trio

import actorq


ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
DEMO = EXAMPLES / "index_tree.py"
PYTHON = (sys.executable, "-W", "error")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", "COLUMNS": "200"}


def run(*arguments: object, code: int = 0) -> str:
    """Run a program in a fresh interpreter; what it printed."""
    done = subprocess.run(
        [*PYTHON, *map(str, arguments)],
        env=ENVIRONMENT,
        cwd=EXAMPLES,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout + done.stderr


def loaded(name: str) -> ModuleType:
    """An example as a module."""
    spec = importlib.util.spec_from_file_location(f"examples_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


# --- the small ones -----------------------------------------------------------------------------


def test_quickstart() -> None:
    """The first program of the README prints what its comment says."""
    assert run("quickstart.py") == "55\n"


def test_progress() -> None:
    """Every step is pushed, in order, and the result comes after."""
    lines = run("progress.py").splitlines()
    assert [line.split()[1] for line in lines[:-1]] == [f"{n}/10" for n in range(1, 11)]
    assert lines[-1] == "{'processed_count': 10} attempts=1"


def test_counter() -> None:
    """Its own assertion holds."""
    assert "counter" in run("counter.py")


def test_middleware() -> None:
    """Both middlewares have seen what they should."""
    output = run("middleware.py")
    assert "labels: {'sender': 'checkout'}" in output
    assert "resize   6 attempts" in output
    assert "flaky    2 attempts" in output
    assert "attempt 1: OSError('no luck')" in output


def test_metrics_server() -> None:
    """The page is served, and tells what was done."""
    output = run("metrics_server.py")
    assert 'actorq_tasks_succeeded_total{queue="default",task="nothing"} 3.0' in output.splitlines()


def test_own_actor() -> None:
    """Batches, a refusal, a crash that takes both down, and the end of what is watched."""
    output = run("own_actor.py")
    batches = re.findall(r"disk: stored (.*)", output)  # in any order: Trio's choice
    assert [len(batch.split(", ")) for batch in batches] == [5, 1, 1, 1]
    assert "'' refused" in output
    assert "'poison' lost" in output
    assert "disk: 1 restart\n" in output
    assert "batcher: 1 restart\n" in output
    assert "'Source' has ended" in output
    assert re.search(r"^stored:( \w+){6} seven eight$", output, re.MULTILINE)


def test_retries_and_cancel() -> None:
    """Each way to end is seen by the enqueuer."""
    output = run("retries_and_cancel.py")
    assert "attempts=2 is_err=False" in output
    assert "OutOfStock('tea', 0) item='tea'" in output
    assert "ran longer than its timeout of 0.1 s" in output
    assert output.count("cancel took effect: True") == 2
    assert "gave up waiting: True" in output
    assert output.count("dead: ") == 2


def test_schedules() -> None:
    """All four kinds of slots are fired, on a real clock, and the program ends by itself."""
    output = run("schedules.py")
    for what in ("heartbeat", "remember the kettle", "remember the cat", "cron: "):
        assert what in output
    assert output.count("kettle") == 1


@pytest.mark.engine
def test_processes() -> None:
    """Another process, a timeout that kills, a death with its cause."""
    output = run("processes.py")
    assert "runs elsewhere: True" in output
    assert "78498 primes" in output
    assert re.search(
        r"stopped after \d+\.\d s: TaskTimeout", output
    )  # how late, the machine decides
    assert "was killed by SIGKILL" in output


# --- a result backend of one's own --------------------------------------------------------------


def test_file_queue(tmp_path: Path) -> None:
    """A queue in a file goes on where the system before left off, and refuses what it cannot do."""
    folder = tmp_path / "new" / "folder"
    output = run("file_queue.py", folder)
    assert "refused: FileBroker cannot honour priority=10" in output
    assert "the next system: cat.jpg@640\n" in output
    assert (folder / "queue.json").is_file()


def test_file_result_backend(tmp_path: Path) -> None:
    """Results and progress are still there when the system is opened again."""
    output = run("file_result_backend.py", tmp_path / "new" / "folder")
    assert "read:     {'to': 2, 'be': 2, 'or': 1, 'not': 1}" in output
    assert "status='6 of 6 words'" in output
    assert "there is no result of task 'never-enqueued'" in output
    assert len(names_in(tmp_path / "new" / "folder")) == 2


def test_file_schedule_source(tmp_path: Path) -> None:
    """A second process finds the schedule, and goes on with it."""
    folder = tmp_path / "new" / "folder"
    for known in (False, True):
        output = run("file_schedule_source.py", folder)
        assert f"known from an earlier run: {known}" in output
        assert "hello, world" in output
    assert "often every 0.1 seconds last: file_schedule_source:greet/often@" in output


def names_in(folder: Path) -> list[str]:
    """What is in *folder*."""
    return sorted(path.name for path in folder.iterdir())


IDS = ("../../escape", "a/b", "..", "CON", "Aa", "aA", "x" * 255, "naïve ✓", "a\0b")


async def test_file_result_backend_keeps_any_id_apart_and_in_its_folder(tmp_path: Path) -> None:
    """An id is data from elsewhere: it names no path."""
    backend = loaded("file_result_backend").FileResultBackend(tmp_path / "results")
    await backend.startup()
    for number, task_id in enumerate(IDS):
        await backend.set_result(task_id, actorq.TaskResult(return_value=number))
        await backend.set_progress(task_id, actorq.TaskProgress(current=number))
    for number, task_id in enumerate(IDS):
        assert (await backend.get_result(task_id)).return_value == number
        assert (await backend.get_progress(task_id)).current == number
    assert names_in(tmp_path) == ["results"]
    assert len({name.lower() for name in names_in(tmp_path / "results")}) == 2 * len(IDS)
    for task_id in IDS:
        await backend.delete_result(task_id)
        assert not await backend.is_result_ready(task_id)
        assert await backend.get_progress(task_id) is None
    await backend.delete_result("never there")
    assert names_in(tmp_path / "results") == []


@pytest.mark.parametrize(
    "damage", [b"", b'{"is_err": fal', b"[1]", b"{}", b"\xff\xfe", b"[" * 10**5]
)
async def test_file_result_backend_says_which_file_is_damaged(
    tmp_path: Path, damage: bytes
) -> None:
    """Whoever asks gets a `ResultGetError` with the path, and other results are unharmed."""
    backend = loaded("file_result_backend").FileResultBackend(tmp_path)

    @actorq.task
    async def answer(value: int) -> int:
        return value

    broker = actorq.InMemoryBroker().with_result_backend(backend)
    async with actorq.open_system(broker) as system:
        damaged = await system.enqueue(answer, 1)
        good = await system.enqueue(answer, 2)
        await damaged.result()
        await good.result()
        (path,) = (tmp_path / name for name in names_in(tmp_path) if damaged.task_id in name)
        await trio.Path(path).write_bytes(damage)
        with pytest.raises(actorq.ResultGetError, match=re.escape(f"{path} is damaged")):
            await damaged.get_result()
        with pytest.raises(actorq.ResultGetError, match="damaged"):
            await damaged.result()
        assert await good.result() == 2
        assert system.actor("results").statistics().restarts == 0


async def test_file_result_backend_leaves_no_half_written_file(tmp_path: Path) -> None:
    """What cannot be written leaves the old result, and nothing beside it."""
    backend = loaded("file_result_backend").FileResultBackend(tmp_path)
    await backend.set_result("id", actorq.TaskResult(return_value="old"))
    with pytest.raises(TypeError):
        await backend.set_result("id", actorq.TaskResult(return_value=object()))
    assert (await backend.get_result("id")).return_value == "old"
    assert len(names_in(tmp_path)) == 1


# --- the demo -----------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Sixty files: Python, prose, one that cannot be parsed, and one that cannot be read."""
    root = tmp_path / "tree"
    for number in range(1, 30):
        folder = root / f"package{number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        body = "class C:\n    def method(self): ...\n\n\ndef function(): ...\n" * number
        (folder / f"module{number:02}.py").write_text(body, encoding="utf-8")
        (folder / f"prose{number:02}.txt").write_text("some words\n" * number, encoding="utf-8")
    (root / "broken.py").write_text("def (:\n", encoding="utf-8")
    (root / "gone.txt").symlink_to(tmp_path / "nowhere")
    (root / "__pycache__").mkdir()
    (root / "__pycache__" / "left_out.pyc").write_bytes(b"\0")
    return root


def test_the_demo_survives_a_crash_and_is_verified(tree: Path) -> None:
    """One file fails and is tried again, the broker crashes, and the index is that of a loop."""
    output = run(DEMO, tree, "--concurrency", 3)
    assert "verified: identical, all 60 files\n" in output
    assert "crashing the broker on purpose" in output
    assert "the parent runs again" in output
    assert "restarts  results 0, broker 1, middleware 1, pool 1, scheduler 1\n" in output
    attempts = {int(n): int(files) for files, n in re.findall(r"(\d+) at attempt (\d+)", output)}
    assert sum(attempts.values()) == 60
    assert attempts[2] >= 1
    retries, repeated = re.search(r"retries +(\d+)", output), re.search(r"repeated +(\d+)", output)
    assert retries is not None
    assert repeated is not None
    assert int(retries[1]) >= 1
    assert int(repeated[1]) >= 1  # the parent at least
    assert "dead      0 tasks, 0 letters\n" in output
    assert re.search(r"problems  .*1 cannot be parsed", output)
    assert re.search(r"problems  .*1 cannot be read", output)
    functions = 2 * sum(range(1, 30))
    assert re.search(rf"^\.py +30 .* {functions} +{functions // 2}$", output, re.MULTILINE)


def test_the_demo_without_a_crash(tree: Path) -> None:
    """`--no-crash` and `--limit` do what they say."""
    output = run(DEMO, tree, "--no-crash", "--limit", 20)
    assert "verified: identical, all 20 files\n" in output
    assert "restarts  results 0, broker 0, middleware 0, pool 0, scheduler 0\n" in output
    assert "crashing" not in output


def test_the_demo_tells_what_differs(tree: Path) -> None:
    """A file that changes meanwhile is found by the check: exit code 1, and the file is named."""
    changing = tree / "package0" / "prose03.txt"
    program = f"""
import sys, index_tree
really = index_tree.print_report
def print_report(*args):
    really(*args)
    index_tree.Path({str(changing)!r}).write_text("changed")
index_tree.print_report = print_report
sys.exit(index_tree.main([{str(tree)!r}, "--no-crash"]))
"""
    output = run("-c", program, code=1)
    assert "verified: 1 of 60 files DIFFER" in output
    assert f"{changing}: Facts(" in output


def test_the_demo_refuses_what_it_cannot_index(
    tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Bad arguments: exit code 2, and what was wrong with them."""
    monkeypatch.syspath_prepend(EXAMPLES)
    parsed = loaded("index_tree").parsed
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, message in {
        (tmp_path / "nowhere",): f"there is no {tmp_path / 'nowhere'}",
        (tree / "broken.py",): f"{tree / 'broken.py'} is not a directory",
        (empty,): f"there are no files in {empty}",
        (tree, "--limit", "0"): "argument --limit: expected a whole number >= 1, got '0'",
        (tree, "--concurrency", "many"): "--concurrency: expected a whole number >= 1, got 'many'",
        (tree, "--no-such"): "unrecognized arguments: --no-such",
    }.items():
        with pytest.raises(SystemExit) as ended:
            parsed([str(argument) for argument in arguments])
        assert ended.value.code == 2
        assert message in capsys.readouterr().err
    assert f"there is no {tmp_path / 'nowhere'}" in run(DEMO, tmp_path / "nowhere", code=2)


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals as POSIX has them")
def test_the_demo_ends_cleanly_when_interrupted() -> None:
    """Ctrl-C: a message, exit code 130, no traceback, and at once."""
    with subprocess.Popen(
        [*PYTHON, str(DEMO)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    ) as demo:
        assert demo.stdout is not None
        try:
            for line in demo.stdout:
                if "%" in line:
                    break
            demo.send_signal(signal.SIGINT)
            output = demo.stdout.read()
            assert demo.wait(20) == 130, output
        finally:
            demo.kill()
    assert output.endswith("interrupted: every actor has stopped, nothing was left behind\n")
    assert "Traceback" not in output


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_the_demo_moves_a_bar_on_a_terminal(tree: Path) -> None:
    """On a terminal it is one line that is drawn again and again."""
    import pty

    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*PYTHON, str(DEMO), str(tree), "--no-crash"],
        env={**ENVIRONMENT, "TERM": "xterm"},
        stdout=theirs,
        stderr=theirs,
    ) as demo:
        os.close(theirs)
        output = b""
        while chunk := _read(ours):
            output += chunk
        assert demo.wait(20) == 0
    os.close(ours)
    shown = output.decode()
    assert shown.count("\r\x1b[2K") > 30
    assert "█" in shown
    assert "100%" in shown


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux: the other side was closed
        return b""
