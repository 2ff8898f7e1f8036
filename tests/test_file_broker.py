"""The example of a broker of one's own: it keeps the contract, and outlives a real process."""

from __future__ import annotations

import importlib
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import trio

import actorq
from actorq import Broker, Capability, UnsupportedOption, open_system


ROOT = Path(__file__).parents[1]


def example(name: str) -> Any:
    """A module of the examples, which import one another by their bare names."""
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(ROOT / "examples"))


TestFileBroker = example("test_own_backends").TestFileBroker


def broker_in(folder: Path) -> Broker:
    """With its companion, as a user would open it."""
    results = example("file_result_backend").FileResultBackend(folder / "results")
    broker: Broker = example("file_broker").FileBroker(folder).with_result_backend(results)
    return broker


def tutorial(step: str) -> Any:
    """The tasks of a step."""
    path = ROOT / "examples" / "tutorial" / f"{step}.py"
    spec = importlib.util.spec_from_file_location(f"tutorial_{step}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_is_as_short_as_the_docs_say() -> None:
    """Under 150 lines, all counted."""
    assert len((ROOT / "examples" / "file_broker.py").read_text().splitlines()) < 150


async def test_the_tasks_of_the_tutorial_run_on_it(tmp_path: Path) -> None:
    """Results, batches, errors, progress, threads; and the next system finds all the results."""
    resize, errors, album = tutorial("step01").resize, tutorial("step04"), tutorial("step07")
    blur = tutorial("step09").blur
    with trio.fail_after(60):
        async with open_system(broker_in(tmp_path), concurrency=20) as sys_:
            many = await sys_.enqueue_many(resize, [(f"{n}.jpg", 64) for n in range(20)])
            crop = await sys_.enqueue(errors.crop, "cat.jpg", errors.Size(1024, 768))
            missing = await sys_.enqueue(errors.crop, "missing.jpg", errors.Size(1, 1))
            blurred = await sys_.enqueue(blur, "cat.jpg")
            shown = await sys_.enqueue(album.resize_album, ["cat.jpg", "dog.jpg"])
            assert [each.status async for each in shown.progress()] == [
                "resized cat.jpg",
                "resized dog.jpg",
            ]
            assert [await each.result() for each in many] == [f"{n}.jpg@64" for n in range(20)]
            assert await crop.result() == errors.Size(800, 600)
            assert await blurred.result() == "cat.jpg, blurred"
            with pytest.raises(errors.NoSuchPhoto):
                await missing.result()
            with pytest.raises(UnsupportedOption, match="FileBroker cannot honour priority=10"):
                await sys_.enqueue(resize.using(priority=10), "front-page.jpg", 1920)
            await sys_.wait_idle()
        async with open_system(broker_in(tmp_path)) as sys_:
            assert (await sys_.queue_statistics()).done == 24
            assert await sys_.handle(many[0].task_id, resize).result() == "0.jpg@64"


async def test_a_system_that_was_closed_goes_on(tmp_path: Path) -> None:
    """What was given back waits in the file."""

    @actorq.task
    async def slow(release: bool) -> str:
        if not release:
            await trio.sleep_forever()
        return "done"

    async with open_system(broker_in(tmp_path), grace=0, concurrency=1) as sys_:
        held = await sys_.enqueue(slow, False)
        waits = await sys_.enqueue(slow, True)
    names = json.loads((tmp_path / "queue.json").read_text())["entries"]
    assert {task_id: each["state"] for task_id, each in names.items()} == {
        held.task_id: "ready",
        waits.task_id: "ready",
    }


def test_killed_while_it_works_it_loses_nothing(tmp_path: Path) -> None:
    """31, 32: what ended has ended, what ran runs again as attempt 2, what waited runs."""
    program = [sys.executable, str(ROOT / "tests" / "file_broker_program.py"), "hangs"]
    heard = set()
    with subprocess.Popen([*program, str(tmp_path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        patience = threading.Timer(60, child.kill)
        patience.start()
        for line in child.stdout:
            heard.add(line.strip())
            if len(heard) == 5:
                break
        patience.cancel()
        child.send_signal(signal.SIGKILL)
        assert child.wait(60) == -signal.SIGKILL
    assert heard == {"begins 0", "ended 0", "begins 1", "begins 2", "accepted 5"}
    ran: list[tuple[int, int]] = []

    @actorq.task(name="work")
    async def work(n: int, ctx: actorq.Context = actorq.Depends()) -> int:
        ran.append((n, ctx.attempt))
        return n

    async def main() -> None:
        with trio.fail_after(60):
            async with open_system(broker_in(tmp_path), tasks=[work], concurrency=1) as sys_:
                handles = [sys_.handle(f"t{n}", work) for n in range(5)]
                assert [await each.result() for each in handles] == [0, 1, 2, 3, 4]

    trio.run(main)
    assert ran == [(1, 2), (2, 2), (3, 1), (4, 1)]


def test_killed_in_any_write_it_loses_nothing(tmp_path: Path) -> None:
    """31: what was accepted ends, wherever it died; nothing ends that was never enqueued."""
    program = [sys.executable, str(ROOT / "tests" / "file_broker_program.py"), "writes"]
    command = [*program, str(tmp_path)]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    deaths = json.loads(ran.stdout)
    *killed, whole = deaths
    assert len(killed) > 10
    assert {each["code"] for each in killed} == {-signal.SIGKILL}
    assert whole["code"] == 0
    accepted = 0
    for each in deaths:
        assert each["end"] == 0, each
        ids = {line.split()[1] for line in each["said"] if line.startswith("accepted")}
        accepted += len(ids)
        ended = {line.split()[1]: line.split()[2] for line in each["then"] if "ended" in line}
        assert ids <= set(ended), each
        assert all(task_id == f"t{value}" for task_id, value in ended.items())
    assert accepted > len(deaths)


def test_what_it_declares_is_all_that_it_has() -> None:
    """What it does not lack, it does: the contract tries it."""
    lacks = example("file_broker").FileBroker.lacks
    assert set(Capability) - lacks == {Capability.PARKING, Capability.BYTES, Capability.SURVIVAL}
