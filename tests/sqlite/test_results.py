"""The result backend of one file keeps the contract of all backends; and what only it has to."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

import actorq
from actorq import (
    ResultBackend,
    SQLiteBroker,
    SQLiteResultBackend,
    SQLiteStorage,
    TaskProgress,
    TaskResult,
)
from actorq.engines.sqlite import result_rows
from actorq.engines.sqlite.schema import migrate, migrations
from actorq.engines.stored_result import Keeping, Row
from actorq.errors import MailboxFull, ResultGetError, StaleResult
from actorq.protocol import Outcome, ResultsStored, WaitResult
from actorq.ref import ActorRef
from actorq.testing.contracts.real_time import let_pass, run_in_real_time
from actorq.testing.contracts.result_users import Waiter, open_results
from actorq.testing.contracts.results import ResultBackendContract
from actorq.wire import Wire

from .here import HERE


pytestmark = pytest.mark.engine

T = TypeVar("T")


def in_folder(folder: Path) -> ResultBackend:
    """Fast: the contract kills no machine."""
    return SQLiteResultBackend(SQLiteStorage(folder / "results.db", synchronous="off"))


@actorq.task
async def double(number: int) -> int:
    """For a result."""
    return 2 * number


class TestSQLiteResultBackend(ResultBackendContract):
    factory = in_folder


class Counted(SQLiteStorage):
    """Counts what is read."""

    reads = 0

    async def read(self, step: Callable[[sqlite3.Connection], T]) -> T:
        self.reads += 1
        return await super().read(step)


def stored(path: Path, table: str = "results") -> list[str]:
    """The ids in a table."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(f"select task_id from actorq_{table} order by seq")
        return [task_id for (task_id,) in rows]


async def told(waiter: Waiter) -> None:
    """It has got something."""
    with trio.fail_after(20):
        while waiter.waits:
            await trio.sleep(0.001)


# --- waiting ---


def test_a_thousand_who_wait_are_a_few_looks(path: Path) -> None:
    """43: those who begin together, and those whose results come together."""
    storage = Counted(path, synchronous="off")
    ids = [f"task-{n}" for n in range(1000)]
    got: dict[str, Any] = {}

    async def main() -> None:
        async with (
            open_results(SQLiteResultBackend(storage)) as users,
            open_results(SQLiteResultBackend(path)) as other,
        ):
            before = storage.reads

            async def wait(task_id: str) -> None:
                got[task_id] = await users.ref.ask(WaitResult(task_id))

            async with trio.open_nursery() as nursery:
                for task_id in ids:
                    nursery.start_soon(wait, task_id)
                await users.quiet()
                outcomes = [Outcome(each, TaskResult(return_value=each)) for each in ids]
                await other.put_all(outcomes)
            assert got == {each: TaskResult(return_value=each) for each in ids}
            assert storage.reads - before < 50  # bursts of 64 messages

    run_in_real_time(main)


def test_what_comes_without_a_word_is_found_at_the_next_look(path: Path) -> None:
    """43: the word of it was lost; a timer looks, and only as often as was told."""

    async def main() -> None:
        async with open_results(SQLiteResultBackend(SQLiteStorage(path, recheck=5.0))) as users:
            waiter = await users.waiter("a")
            with closing(sqlite3.connect(path)) as silent:
                data = Wire().encode_result("a", TaskResult(return_value=1))
                row = Row("a", 1, None, data, lost=False)
                result_rows.store_row(silent, row, 0.0, Keeping(ttl=None))
                silent.commit()
            for _ in range(20):
                await users.quiet()
            assert waiter.waits
            let_pass(5.1)
            await told(waiter)
            assert waiter.result == TaskResult(return_value=1)

    run_in_real_time(main)


def test_what_a_killed_process_has_stored_is_there(path: Path) -> None:
    """28: all that it has said to be stored, and each wakes who waits in another process."""
    program = Path(__file__).with_name("storing_program.py")

    async def main() -> None:
        async with open_results(SQLiteResultBackend(path)) as users:
            async with trio.open_nursery() as nursery:
                process = await nursery.start(run, [sys.executable, str(program), str(path)])
                said = 0
                received = b""
                while said < 20:
                    some = await process.stdout.receive_some()
                    assert some, "it ended by itself"
                    received += some
                    said = received.count(b"\n")
                process.kill()
                nursery.cancel_scope.cancel("it was killed")
            waiters = [await users.waiter(str(n)) for n in range(said)]
            assert all(each.result is not None for each in waiters)

    run_in_real_time(main)


async def run(command: list[str], task_status: Any) -> None:
    """A program that is killed."""
    await trio.run_process(
        command, stdout=subprocess.PIPE, env=HERE, check=False, task_status=task_status
    )


# --- how long ---


def test_a_result_is_kept_for_a_week_unless_told(path: Path) -> None:
    """28: `result_ttl` goes before the backend's `ttl`; a file does not grow for ever."""

    async def main() -> None:
        async with open_results(SQLiteResultBackend(path)) as users:
            await users.put("week", TaskResult())
            await users.report("day", TaskProgress())
            await users.put("day", TaskResult(), ttl=24 * 3600)
            await users.put("year", TaskResult(), ttl=365 * 24 * 3600)
            let_pass(24 * 3600 + 1)
            assert not await users.is_ready("day")
            let_pass(6 * 24 * 3600)
            assert not await users.is_ready("week")
            assert await users.is_ready("year")
            assert stored(path) == ["week", "day", "year"]  # it costs nothing until one is stored
            await users.put("next", TaskResult())
            assert stored(path) == ["year", "next"]
            assert stored(path, "progress") == []
            late = await users.waiter("day")
            assert "result_ttl is over" in str(late.error)

    run_in_real_time(main)


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["put", "put", "delete"])), max_size=40),
)
@settings(deadline=None)
def test_the_latest_are_kept_and_the_others_known_to_be_gone(
    limit: int, steps: list[tuple[int, str]]
) -> None:
    """28: `max_stored_results`, whatever is stored, replaced and deleted."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, migrations())
        kept: list[str] = []
        gone: set[str] = set()
        keeping = Keeping(None, limit)
        for n, (number, what) in enumerate(steps):
            task_id = str(number)
            gone |= {task_id} & set(kept)
            kept = [each for each in kept if each != task_id]
            if what == "put":
                row = Row(task_id, 1, None, b"%d" % n, lost=False)
                result_rows.store_row(connection, row, 0.0, keeping)
                kept.append(task_id)
                gone -= {task_id}
            else:
                result_rows.bury(connection, [task_id], "deleted")
            result_rows.sweep(connection, 0.0, limit)
            gone |= set(kept[:-limit])
            kept = kept[-limit:]
            found = result_rows.look_up(connection, [str(each) for each in range(10)], 0.0)
            assert sorted(task_id for task_id, _ in found.results) == sorted(kept)
            assert {task_id for task_id, _ in found.gone} == gone


def test_the_backend_looks_after_its_limit(path: Path) -> None:
    """28: exactly, for a small one."""

    async def main() -> None:
        async with open_results(SQLiteResultBackend(path, max_stored_results=3)) as users:
            for n in range(5):
                await users.put(str(n), TaskResult())
            assert stored(path) == ["2", "3", "4"]
            assert "max_stored_results" in str((await users.waiter("0")).error)

    run_in_real_time(main)


def test_a_step_takes_out_a_few_and_remembers_not_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """28: no step is long, and nothing grows for ever."""
    monkeypatch.setattr(result_rows, "GONE_KEPT", 100)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, migrations())
        for n in range(300):
            row = Row(str(n), 1, 1.0, b"", lost=False)
            result_rows.store_row(connection, row, 0.0, Keeping())
        count = "select count(*) from actorq_"
        for left in (236, 172, 108, 44, 0, 0):
            result_rows.sweep(connection, 2.0)
            assert connection.execute(count + "results").fetchone() == (left,)
        assert connection.execute(count + "gone").fetchone() == (100,)


# --- who may store ---


def test_an_attempt_that_the_queue_has_given_to_another_is_refused(path: Path) -> None:
    """34: found out in the step that stores, if the queue is in the same file."""

    async def main() -> None:
        async with open_results(SQLiteResultBackend(path)) as users:
            with closing(sqlite3.connect(path)) as queue:
                queue.execute(
                    "insert into actorq_tasks (task_id, name, queue, priority, state, number, "
                    "deliveries, attempt, message) values ('a', 't', 'default', 0, 'leased', 1, 9, "
                    "2, x'')"
                )
                queue.commit()
            assert isinstance(await users.put("a", TaskResult(attempts=1)), StaleResult)
            with pytest.raises(StaleResult):
                await users.report("a", TaskProgress(), 1)
            await users.report("a", TaskProgress(), 2)
            assert await users.put("a", TaskResult(attempts=2)) is None

    run_in_real_time(main)


def test_progress_of_an_earlier_attempt_is_refused(path: Path) -> None:
    """34: also if it comes from a process that knows nothing of the later one."""

    async def main() -> None:
        async with (
            open_results(SQLiteResultBackend(path)) as one,
            open_results(SQLiteResultBackend(path)) as other,
        ):
            await one.report("a", TaskProgress(progress=0.5), 2)
            with pytest.raises(StaleResult):
                await other.report("a", TaskProgress(progress=0.9), 1)
            assert await other.progress("a") == TaskProgress(progress=0.5)

    run_in_real_time(main)


# --- what it costs ---


@pytest.mark.parametrize(
    "call",
    [
        lambda c: result_rows.store_row(c, Row("a", 2, None, b"", lost=False), 0.0, Keeping()),
        lambda c: result_rows.store_progress(c, "a", 2, b"", 0.0, Keeping()),
        lambda c: result_rows.latest_progress(c, "a", 0.0),
        lambda c: result_rows.sweep(c, 5.0),
        lambda c: result_rows.bury(c, ["a"], "deleted"),
        lambda c: result_rows.refuse_if_overtaken(c, "a", 1),
        lambda c: result_rows.look_up(c, ["a", "b"], 0.0),
        lambda c: result_rows.look_after(c, result_rows.Position(1, 1, 1), ["a", "b"], 0.0),
        lambda c: result_rows.progress_after(c, 1, ["a"], ["b"], 0.0),
    ],
)
def test_no_step_looks_at_every_row(call: Callable[[sqlite3.Connection], object]) -> None:
    """28: each finds its rows by an index, however many there are."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, migrations())
        row = Row("a", 1, 1.0, b"", lost=False)
        result_rows.store_row(connection, row, 0.0, Keeping())
        said: list[str] = []
        connection.set_trace_callback(said.append)
        call(connection)
        connection.set_trace_callback(None)
        assert said
        for statement in said:
            plan = connection.execute(f"explain query plan {statement}").fetchall()
            steps = [detail for *_, detail in plan]
            scans = [each for each in steps if each.startswith("SCAN")]
            derived = ("CONSTANT", "subquery", "SUBQUERY")  # of a row or two
            assert not [each for each in scans if not any(name in each for name in derived)], said
            assert not [each for each in steps if "TEMP B-TREE" in each], statement


# --- what is refused ---


@pytest.mark.parametrize("ttl", [0, -1, "1", True])
def test_a_ttl_that_is_none_is_refused(ttl: Any) -> None:
    """When it is made."""
    with pytest.raises(ValueError, match="ttl"):
        SQLiteResultBackend("results.db", ttl=ttl)


@pytest.mark.parametrize("limit", [0, -1, 1.5, True])
def test_a_limit_that_is_none_is_refused(limit: Any) -> None:
    """When it is made."""
    with pytest.raises(ValueError, match="max_stored_results"):
        SQLiteResultBackend("results.db", max_stored_results=limit)


def test_a_damaged_result_is_told_to_who_waits(path: Path) -> None:
    """43: and not only to who looks."""

    async def main() -> None:
        async with open_results(SQLiteResultBackend(path)) as users:
            waiter = await users.waiter("a")
            async with open_results(SQLiteResultBackend(path)) as other:
                await other.put("b", TaskResult())
                with closing(sqlite3.connect(path)) as hand:
                    hand.execute(
                        "insert into actorq_results (task_id, attempt, data) values ('a', 1, x'00')"
                    )
                    hand.commit()
                await other.put("c", TaskResult())
            await told(waiter)
            assert isinstance(waiter.error, ResultGetError)
            with pytest.raises(ResultGetError):
                await users.get("a")

    run_in_real_time(main)


async def test_the_last_progress_reaches_who_follows_from_another_process(tmp_path: Path) -> None:
    """However soon the end comes after it, and however late it is asked for."""
    worker, client = SQLiteBroker(tmp_path / "q.db"), SQLiteBroker(tmp_path / "q.db")

    @worker.task(name="steps")
    async def steps(ctx: actorq.Context = actorq.Depends()) -> None:
        for step in (1, 2, 3):
            await ctx.set_progress(actorq.TaskProgress(progress=step / 3))

    @client.task(name="steps")
    async def steps_elsewhere() -> None:
        raise NotImplementedError

    async with (
        actorq.open_system(worker, role="worker"),
        actorq.open_system(client, role="client") as sys,
    ):
        handle, heard = await sys.enqueue(steps_elsewhere), []
        async for update in handle.progress():
            heard.append(update.progress)
            await handle.wait_result()  # who follows is slow
        assert heard[-1] == 1.0


@pytest.mark.promise(43)
async def test_a_full_mailbox_loses_no_word_of_a_result(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """43: the broker stores results with the settlements; the backend's listener is not told of it."""
    broker = SQLiteBroker(path, synchronous="off")
    tell_nowait, refused = ActorRef.tell_nowait, 0

    def full_once(ref: ActorRef[Any], message: Any) -> None:
        nonlocal refused
        if isinstance(message, ResultsStored) and not refused:
            refused += 1
            raise MailboxFull("results", 10_000, message)
        tell_nowait(ref, message)

    monkeypatch.setattr(ActorRef, "tell_nowait", full_once)
    async with actorq.open_system(broker) as system:
        task = await system.enqueue(double, 2)
        with trio.fail_after(5):
            assert await task.result() == 4
    assert refused
