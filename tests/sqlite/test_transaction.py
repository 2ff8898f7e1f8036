"""Enqueueing in a transaction of one's own: with the rows that it writes, or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel
from hypothesis import given
from hypothesis import strategies as st

import actorq
from actorq import Middleware, SQLiteBroker, TaskMessage
from actorq.errors import (
    ArgumentsError,
    DuplicateTask,
    DuplicateTaskId,
    EngineUnavailable,
    MiddlewareError,
)
from actorq.testing.contracts.contract import new_folder


pytestmark = pytest.mark.engine


@actorq.task(name="ship")
async def ship(order: int) -> int:
    """Give it back."""
    return order


@actorq.task(name="pack")
async def pack(order: int) -> int:
    """And one more."""
    return order + 1


@pytest.fixture
def broker(path: Path) -> SQLiteBroker:
    """One that nobody has opened."""
    return SQLiteBroker(path).register(ship, pack)


@pytest.fixture
def own(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection of the user's, with a table and an open transaction."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table orders (id integer primary key)")
        connection.commit()
        connection.execute("begin immediate")
        yield connection


def tasks(path: Path) -> list[str]:
    """The ids in the queue, as another process sees them."""
    with closing(sqlite3.connect(path)) as connection:
        if not connection.execute("pragma table_info(actorq_tasks)").fetchall():
            return []
        rows = connection.execute("select task_id from actorq_tasks order by id")
        return [task_id for (task_id,) in rows]


def orders(path: Path) -> list[int]:
    """Those that are stored."""
    with closing(sqlite3.connect(path)) as connection:
        return [number for (number,) in connection.execute("select id from orders order by id")]


# --- all or nothing ---


def test_what_is_committed_is_there_and_not_before(
    broker: SQLiteBroker, own: sqlite3.Connection, path: Path
) -> None:
    """31: with the row; the tables of the queue are made in the same transaction."""
    own.execute("insert into orders values (7)")
    task_id = broker.enqueue_in(own, ship, 7)
    assert (tasks(path), orders(path)) == ([], [])
    own.commit()
    assert (tasks(path), orders(path)) == ([task_id], [7])


def test_what_is_rolled_back_never_was(
    broker: SQLiteBroker, own: sqlite3.Connection, path: Path
) -> None:
    """31: nor are the tables of the queue."""
    broker.enqueue_in(own, ship, 7)
    own.rollback()
    assert own.execute("select name from sqlite_master").fetchall() == [("orders",)]


def test_a_block_that_raises_leaves_nothing(broker: SQLiteBroker, path: Path) -> None:
    """31: and what it raises comes out."""
    with pytest.raises(ZeroDivisionError), broker.transaction() as tx:  # noqa: PT012
        tx.connection.execute("create table orders (id)")
        tx.enqueue(ship, 1)
        tx.enqueue(ship, 1 // 0)
    assert tasks(path) == []
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("select * from sqlite_master").fetchall() == []


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(["row and task", "undone", "refused"]), max_size=4),
            st.sampled_from(["commit", "rollback", "raise"]),
        ),
        max_size=6,
    )
)
def test_rows_and_tasks_are_the_same_whatever_is_done(
    transactions: list[tuple[list[str], str]],
) -> None:
    """31: drawn transactions with savepoints and refusals in them; each row has its task."""
    with new_folder() as folder:
        path = folder / "queue.db"
        broker = SQLiteBroker(path, synchronous="off")
        with broker.transaction() as tx:
            tx.enqueue(ship.using(task_id="taken"), 0)
        with closing(sqlite3.connect(path, isolation_level=None)) as own:
            own.execute("pragma synchronous = off")
            own.execute("create table orders (id integer primary key)")
            expected: list[int] = []
            number = 0
            for steps, end in transactions:
                written: list[int] = []
                own.execute("begin immediate")
                for step in steps:
                    number += 1
                    own.execute("savepoint mine")
                    if step == "refused":
                        with pytest.raises(DuplicateTaskId):
                            broker.enqueue_in(own, ship.using(task_id="taken"), number)
                    else:
                        own.execute("insert into orders values (?)", (number,))
                        once = ship.using(task_id=str(number))
                        assert broker.enqueue_in(own, once, number) == str(number)
                    if step == "undone":
                        own.execute("rollback to mine")
                    elif step == "row and task":
                        written.append(number)
                    own.execute("release mine")
                own.execute("commit" if end == "commit" else "rollback")
                if end == "commit":
                    expected += written
        assert orders(path) == expected
        assert tasks(path) == ["taken", *[str(each) for each in expected]]


# --- workers ---


def test_a_worker_is_woken_by_the_commit(path: Path) -> None:
    """43: long before it would look by itself; from a thread, with nobody open in it."""
    broker = SQLiteBroker(path, recheck=1000.0).register(ship)
    other = SQLiteBroker(path)

    def place() -> str:
        with other.transaction() as tx:
            return tx.enqueue(ship, 5)

    async def main() -> None:
        with trio.fail_after(30):
            async with actorq.open_system(broker) as sys:
                task_id = await trio.to_thread.run_sync(place)
                assert await sys.handle(task_id, ship).result() == 5

    trio.run(main)


def test_an_own_commit_is_found_by_itself_or_at_once_with_wake(path: Path) -> None:
    """43: by `recheck`, or by `wake()`."""

    async def main(recheck: float, after: Callable[[SQLiteBroker], object]) -> None:
        broker = SQLiteBroker(path, recheck=recheck).register(ship)
        with trio.fail_after(30), closing(sqlite3.connect(path)) as own:
            async with actorq.open_system(broker) as sys:
                own.execute("begin immediate")
                task_id = broker.enqueue_in(own, ship, 5)
                own.commit()
                after(broker)
                assert await sys.handle(task_id, ship).result() == 5

    trio.run(main, 0.05, lambda _: None)
    trio.run(main, 1000.0, SQLiteBroker.wake)


def test_chains_calls_and_options_hold(broker: SQLiteBroker, path: Path) -> None:
    """31: the id is that of the last step; what a task says of itself is stored."""

    async def main() -> None:
        with broker.transaction() as tx:
            chained = tx.enqueue(ship | pack, 1)
            called = tx.enqueue(pack.call(5))
            tx.enqueue(ship.using(delay=1000, priority=3), 9)
        with trio.fail_after(30):
            async with actorq.open_system(broker) as sys:
                assert await sys.handle(chained, pack).result() == 2
                assert await sys.handle(called, pack).result() == 6
                (late,) = await sys.queued_tasks()
                assert (late.state, late.message.options.priority) == ("scheduled", 3)

    trio.run(main)


def test_unique_holds_in_a_transaction(broker: SQLiteBroker, path: Path) -> None:
    """39: the id of what stands for it, or an error that leaves the transaction as it was."""
    once = ship.using(unique=actorq.Unique(key="k", on_conflict="return"))
    with broker.transaction() as tx:
        tx.connection.execute("create table orders (id integer primary key)")
        first = tx.enqueue(once, 1)
        assert tx.enqueue(once, 2) == first
        with pytest.raises(DuplicateTask):
            tx.enqueue(ship.using(unique=actorq.Unique(key="k", on_conflict="reject")), 3)
        tx.connection.execute("insert into orders values (1)")
    assert (tasks(path), orders(path)) == ([first], [1])


def test_who_waits_for_a_replaced_task_is_told(path: Path) -> None:
    """36, 39, 43: waiting or running, in another process or here; nobody has to look first."""
    replacing = actorq.Unique(key="k", on_conflict="replace")
    broker, other = SQLiteBroker(path, recheck=1000.0), SQLiteBroker(path)
    began = trio.Event()

    @broker.task(name="hang")
    async def hang(number: int) -> int:
        if number == 2:
            began.set()
            await trio.sleep_forever()
        return number

    def replace(number: int, delay: float | None) -> str:
        with other.transaction() as tx:
            return tx.enqueue(hang.using(unique=replacing, delay=delay), number)

    async def main() -> None:
        with trio.fail_after(30):
            async with actorq.open_system(broker) as sys:
                first = await sys.enqueue(hang.using(unique=replacing, delay=1000), 1)
                second = sys.handle(await trio.to_thread.run_sync(replace, 2, None), hang)
                with pytest.raises(actorq.TaskCancelled):
                    await first.result()
                await began.wait()
                third = sys.handle(await trio.to_thread.run_sync(replace, 3, None), hang)
                with pytest.raises(actorq.TaskCancelled):
                    await second.result()
                assert await third.result() == 3

    trio.run(main)


# --- what is refused ---


def test_a_connection_that_will_not_do_is_refused_with_advice(
    broker: SQLiteBroker, own: sqlite3.Connection, path: Path
) -> None:
    """31: nothing is enqueued where it would not be one transaction."""
    own.commit()
    with pytest.raises(ValueError, match="begin immediate"):
        broker.enqueue_in(own, ship, 1)
    with pytest.raises(TypeError, match=r"sqlite3\.Connection"):
        broker.enqueue_in(path, ship, 1)  # type: ignore[arg-type]
    for elsewhere in (":memory:", path.with_name("other.db")):
        with closing(sqlite3.connect(elsewhere)) as other:
            other.execute("begin immediate")
            with pytest.raises(ValueError, match="queue's file"):
                broker.enqueue_in(other, ship, 1)
    with closing(sqlite3.connect(path.with_name("other.db"))) as other:
        other.execute("attach database ? as queue", (str(path),))
        other.execute("begin immediate")
        with pytest.raises(ValueError, match="queue's file"):
            broker.enqueue_in(other, ship, 1)
    assert tasks(path) == []


def test_what_is_no_call_is_refused(broker: SQLiteBroker, own: sqlite3.Connection) -> None:
    """As by `enqueue`; the transaction goes on."""
    enqueue: Any = broker.enqueue_in
    with pytest.raises(TypeError, match="expects a task"):
        enqueue(own, print, 1)
    with pytest.raises(ArgumentsError):
        enqueue(own, ship)
    with pytest.raises(ArgumentsError, match="no more"):
        enqueue(own, ship.call(1), 2)
    with pytest.raises(ArgumentsError, match="lacks one"):
        enqueue(own, ship.step())
    assert own.in_transaction


def test_a_transaction_that_others_overtook_says_how_to_begin(
    broker: SQLiteBroker, own: sqlite3.Connection, path: Path
) -> None:
    """31: a plain `begin` that has read; SQLite's own words are kept from the user."""
    own.commit()
    own.execute("pragma journal_mode = wal")
    own.execute("begin")
    own.execute("select * from orders").fetchall()
    with broker.transaction() as tx:
        tx.enqueue(ship, 1)
    with pytest.raises(EngineUnavailable, match="begin immediate") as told:
        broker.enqueue_in(own, ship, 2)
    assert "locked" not in str(told.value)
    own.rollback()
    assert len(tasks(path)) == 1


def test_ending_the_transaction_inside_is_an_error(broker: SQLiteBroker) -> None:
    """It was not the block's to end."""
    with pytest.raises(RuntimeError, match="ended inside"), broker.transaction() as tx:
        tx.connection.commit()


def test_the_owner_s_rows_stay_the_owner_s(broker: SQLiteBroker, own: sqlite3.Connection) -> None:
    """Whatever they are made into."""
    own.row_factory = lambda cursor, row: {"row": row}
    own.text_factory = bytes
    task_id = broker.enqueue_in(own, ship, 1)
    (found,) = own.execute("select task_id from actorq_tasks")
    assert found == {"row": (task_id.encode(),)}


# --- middlewares ---


class Labels(Middleware):
    """Notes what it sees."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def pre_send(self, message: TaskMessage) -> TaskMessage:
        self.seen.append("pre")
        return message.with_labels(tenant="acme")

    async def post_send(self, message: TaskMessage) -> None:
        self.seen.append("post")


class Waits(Middleware):
    """Asks somebody else first."""

    async def pre_send(self, message: TaskMessage) -> TaskMessage:
        await trio.lowlevel.checkpoint()
        return message


class Starts(Labels):
    """Needs to be started."""

    def startup(self) -> None:
        self.seen.append("startup")


def test_middlewares_see_what_is_sent(path: Path) -> None:
    """44: `pre_send` before it is stored, `post_send` when it is committed."""
    labels = Labels()
    broker = SQLiteBroker(path).with_middlewares(labels).register(ship)

    async def main() -> None:
        with broker.transaction() as tx:
            tx.enqueue(ship, 1)
            assert labels.seen == ["pre"]
        assert labels.seen == ["pre", "post"]
        async with actorq.open_system(broker, role="client") as sys:
            (queued,) = await sys.queued_tasks()
            assert queued.message.options.labels["tenant"] == "acme"

    trio.run(main)


def test_a_middleware_that_waits_is_refused(path: Path) -> None:
    """44: nothing is stored."""
    broker = SQLiteBroker(path).with_middlewares(Waits())
    with pytest.raises(MiddlewareError, match="pre_send"), broker.transaction() as tx:
        tx.enqueue(ship, 1)
    assert tasks(path) == []


def test_a_middleware_that_is_not_started_is_refused(path: Path) -> None:
    """44: unless a system has started it."""
    starts = Starts()
    broker = SQLiteBroker(path).with_middlewares(starts)
    with pytest.raises(MiddlewareError, match="startup"), broker.transaction() as tx:
        tx.enqueue(ship, 1)

    async def main() -> None:
        async with actorq.open_system(broker, role="client"):
            with broker.transaction() as tx:
                tx.enqueue(ship, 1)

    trio.run(main)
    assert starts.seen == ["startup", "pre", "post"]
