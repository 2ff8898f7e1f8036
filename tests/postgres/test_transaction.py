"""Enqueueing in a transaction of one's own: with the rows that it writes, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import trio
import trio.lowlevel
from hypothesis import given
from hypothesis import strategies as st
from psycopg.rows import dict_row, namedtuple_row

import actorq
from actorq import Middleware, TaskMessage
from actorq.engines.postgres.broker import PostgresBroker
from actorq.engines.postgres.trio_connection import TrioConnection
from actorq.errors import (
    ArgumentsError,
    DuplicateTask,
    EngineUnavailable,
    EnqueueUncertain,
    MiddlewareError,
)
from actorq.protocol import Locate
from servers.postgres import PostgresServer

from . import here


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
def broker(server: PostgresServer, namespace: str) -> PostgresBroker:
    """One that nobody has opened."""
    return PostgresBroker(server.url, schema=namespace).register(ship, pack)


@pytest.fixture
def own(server: PostgresServer, namespace: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the user's, with a table; a transaction begins with each first statement."""
    with psycopg.connect(server.url) as connection:
        connection.execute(f"create table {namespace}_orders (id int primary key)".encode())
        connection.commit()
        yield connection
        connection.rollback()


def enqueued(schema: str) -> list[str]:
    """The ids that are on their way into the queue, or there, as another process sees them."""
    assert here.server is not None
    if here.server.ask("select to_regclass(%s)", f"{schema}.inbox") == [(None,)]:
        return []
    query = (
        f"select task_id, id from {schema}.tasks "
        f"union all select sent ->> 0, seq + 1000000 from {schema}.inbox order by 2"
    )
    return [task_id for task_id, _ in here.server.ask(query)]


def orders(schema: str) -> list[int]:
    """Those that are stored."""
    assert here.server is not None
    return [number for (number,) in here.server.ask(f"select id from {schema}_orders order by id")]


# --- all or nothing ---


def test_what_is_committed_is_there_and_not_before(
    broker: PostgresBroker, own: psycopg.Connection[Any], namespace: str
) -> None:
    """31: with the row; the schema is made meanwhile, if nobody has opened a broker yet."""
    own.execute(f"insert into {namespace}_orders values (7)".encode())
    task_id = broker.enqueue_in(own, ship, 7)
    assert (enqueued(namespace), orders(namespace)) == ([], [])
    own.commit()
    assert (enqueued(namespace), orders(namespace)) == ([task_id], [7])


def test_what_is_rolled_back_never_was(
    broker: PostgresBroker, own: psycopg.Connection[Any], namespace: str
) -> None:
    """31: and the next transaction on the connection knows its way."""
    broker.enqueue_in(own, ship, 7)
    own.rollback()
    assert enqueued(namespace) == []
    task_id = broker.enqueue_in(own, ship, 8)
    own.commit()
    assert enqueued(namespace) == [task_id]


def test_a_block_that_raises_leaves_nothing(broker: PostgresBroker, namespace: str) -> None:
    """31: and what it raises comes out."""
    with pytest.raises(ZeroDivisionError), broker.transaction() as tx:  # noqa: PT012
        tx.connection.execute(f"create table {namespace}_orders (id int)".encode())
        tx.enqueue(ship, 1)
        tx.enqueue(ship, 1 // 0)
    assert enqueued(namespace) == []
    assert here.server is not None
    assert here.server.ask("select to_regclass(%s)", f"{namespace}_orders") == [(None,)]


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(["row and task", "undone"]), max_size=3),
            st.sampled_from(["commit", "rollback", "raise"]),
        ),
        max_size=4,
    )
)
def test_rows_and_tasks_are_the_same_whatever_is_done(
    transactions: list[tuple[list[str], str]],
) -> None:
    """31: drawn transactions with savepoints in them; each row has its task."""
    schema = "drawn"
    assert here.server is not None
    broker = PostgresBroker(here.server.url, schema=schema)
    here.server.ask(f"create table if not exists {schema}_orders (id int primary key)")
    here.server.ask(f"truncate {schema}_orders")
    if enqueued(schema):
        here.server.ask(f"truncate {schema}.inbox")
    expected: list[int] = []
    number = 0
    with psycopg.connect(here.server.url) as own:
        for steps, end in transactions:
            written: list[int] = []
            for step in steps:
                number += 1
                own.execute("savepoint mine")
                own.execute(f"insert into {schema}_orders values (%s)".encode(), (number,))
                broker.enqueue_in(own, ship.using(task_id=str(number)), number)
                if step == "undone":
                    own.execute("rollback to mine")
                else:
                    written.append(number)
                own.execute("release mine")
            if end == "commit":
                own.commit()
                expected += written
            else:
                own.rollback()
    assert orders(schema) == expected
    assert enqueued(schema) == [str(each) for each in expected]


# --- workers ---


def test_a_worker_is_woken_by_the_commit(server: PostgresServer, namespace: str) -> None:
    """43: long before it would look by itself; from a thread, with nobody open in it."""
    broker = PostgresBroker(server.url, schema=namespace, recheck=1000.0).register(ship)
    other = PostgresBroker(server.url, schema=namespace)

    def place() -> str:
        with other.transaction() as tx:
            return tx.enqueue(ship, 5)

    def place_on_own() -> str:
        with psycopg.connect(server.url) as own:
            return other.enqueue_in(own, ship, 6)

    async def main() -> None:
        with trio.fail_after(30):
            async with actorq.open_system(broker) as sys:
                task_id = await trio.to_thread.run_sync(place)
                assert await sys.handle(task_id, ship).result() == 5
                task_id = await trio.to_thread.run_sync(place_on_own)
                assert await sys.handle(task_id, ship).result() == 6

    trio.run(main)


async def test_in_trio_it_is_awaited(broker: PostgresBroker, server: PostgresServer) -> None:
    """31: on a connection of the broker's and on one's own; other tasks run meanwhile."""
    with trio.fail_after(30):
        async with broker.transaction() as tx:
            first = await tx.enqueue(ship, 1)
        with pytest.raises(ZeroDivisionError):
            async with broker.transaction() as tx:
                await tx.enqueue(ship, 1 // 0)
        async with await TrioConnection.connect(server.url, autocommit=True) as connection:
            async with connection.transaction():
                second = await broker.enqueue_in(connection, pack, 1)
            with pytest.raises(ValueError, match="open transaction"):
                await broker.enqueue_in(connection, pack, 1)
        async with actorq.open_system(broker) as sys:
            assert await sys.handle(first, ship).result() == 1
            assert await sys.handle(second, pack).result() == 2


async def test_a_transaction_that_is_cancelled_is_rolled_back(
    broker: PostgresBroker, namespace: str
) -> None:
    """31: whoever cancels it."""
    with trio.move_on_after(0.1) as scope:
        async with broker.transaction() as tx:
            await tx.enqueue(ship, 1)
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert enqueued(namespace) == []


def test_chains_calls_and_options_hold(broker: PostgresBroker) -> None:
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


def test_an_open_transaction_holds_up_nobody(
    broker: PostgresBroker, server: PostgresServer
) -> None:
    """35, 39: other processes enqueue, work and look after leases, though it has a key in it."""
    unique = actorq.Unique(key="k", on_conflict="reject")

    async def main() -> None:
        with trio.fail_after(30), psycopg.connect(server.url) as own:
            mine = broker.enqueue_in(own, ship.using(unique=unique), 1)
            async with actorq.open_system(broker) as sys:
                theirs = await sys.enqueue(ship.using(unique=unique), 2)
                assert await theirs.result() == 2
                own.commit()
                assert await sys.handle(mine, ship).result() == 1

    trio.run(main)


@pytest.mark.parametrize(
    ("on_conflict", "error"),
    [("reject", DuplicateTask), ("return", actorq.TaskCancelled)],
)
def test_unique_is_found_out_after_the_commit(
    broker: PostgresBroker, on_conflict: Any, error: type[Exception]
) -> None:
    """39: one of them becomes a task, and who waits for the other one is told."""
    once = ship.using(unique=actorq.Unique(key="k", on_conflict=on_conflict), delay=0.2)

    async def main() -> None:
        with trio.fail_after(30):
            async with actorq.open_system(broker) as sys:
                with broker.transaction() as tx:
                    first = tx.enqueue(once, 1)
                    second = tx.enqueue(once, 2)
                with pytest.raises(error, match=first):
                    await sys.handle(second, ship).result()
                assert await sys.handle(first, ship).result() == 1

    trio.run(main)


def test_an_id_that_is_known_is_accepted_once(broker: PostgresBroker, namespace: str) -> None:
    """31: enqueued again, it is the same task."""

    async def main() -> None:
        with broker.transaction() as tx:
            tx.enqueue(ship.using(task_id="a"), 1)
        with broker.transaction() as tx:
            tx.enqueue(ship.using(task_id="a"), 1)
        with trio.fail_after(30):
            async with actorq.open_system(broker) as sys:
                assert await sys.handle("a", ship).result() == 1
                with broker.transaction() as tx:
                    tx.enqueue(ship.using(task_id="a"), 1)
                    after = tx.enqueue(ship, 2)
                assert await sys.handle(after, ship).result() == 2
                assert (await sys.queue_statistics()).done == 2

    trio.run(main)


# --- what is refused ---


def test_a_connection_that_will_not_do_is_refused_with_advice(
    broker: PostgresBroker, server: PostgresServer, namespace: str
) -> None:
    """31: nothing is enqueued where it would not be one transaction."""
    with psycopg.connect(server.url, autocommit=True) as own:
        with pytest.raises(ValueError, match=r"connection\.transaction"):
            broker.enqueue_in(own, ship, 1)
        own.execute("begin")
        with pytest.raises(psycopg.errors.DivisionByZero):
            own.execute("select 1 / 0")
        with pytest.raises(ValueError, match="roll it back"):
            broker.enqueue_in(own, ship, 1)
    with pytest.raises(ValueError, match="closed"):
        broker.enqueue_in(own, ship, 1)
    with pytest.raises(TypeError, match="driver_connection"):
        broker.enqueue_in(namespace, ship, 1)
    assert enqueued(namespace) == []


def test_what_is_no_call_is_refused(broker: PostgresBroker, own: psycopg.Connection[Any]) -> None:
    """As by `enqueue`; the transaction goes on."""
    enqueue: Any = broker.enqueue_in
    own.execute("select 1")
    with pytest.raises(TypeError, match="expects a task"):
        enqueue(own, print, 1)
    with pytest.raises(ArgumentsError):
        enqueue(own, ship)
    with pytest.raises(ArgumentsError, match="no more"):
        enqueue(own, ship.call(1), 2)
    own.execute("select 1")


def test_ending_the_transaction_inside_is_an_error(broker: PostgresBroker, namespace: str) -> None:
    """It was not the block's to end; and an error that was caught there has ended it."""
    with pytest.raises(RuntimeError, match="ended inside"), broker.transaction() as tx:
        tx.connection.commit()
    with pytest.raises(RuntimeError, match="failed inside"), broker.transaction() as tx:  # noqa: PT012
        tx.enqueue(ship, 1)
        with pytest.raises(psycopg.errors.DivisionByZero):
            tx.connection.execute("select 1 / 0")
    assert enqueued(namespace) == []


def test_nobody_there_is_said(namespace: str) -> None:
    """31: nothing was enqueued."""
    broker = PostgresBroker("postgresql://x:secret@127.0.0.1:1/x", schema=namespace)
    with pytest.raises(EngineUnavailable, match="refused") as told, broker.transaction():
        pass
    assert "secret" not in str(told.value)


def test_a_commit_that_breaks_is_in_doubt(broker: PostgresBroker, server: PostgresServer) -> None:
    """31: the error says of which tasks, and that they may be enqueued again."""
    with pytest.raises(EnqueueUncertain) as told, broker.transaction() as tx:  # noqa: PT012
        task_id = tx.enqueue(ship, 1)
        server.ask("select pg_terminate_backend(%s)", tx.connection.info.backend_pid)
    assert told.value.task_ids == (task_id,)


@pytest.mark.parametrize("factory", [dict_row, namedtuple_row])
def test_the_owner_s_rows_stay_the_owner_s(
    broker: PostgresBroker, server: PostgresServer, factory: Any, namespace: str
) -> None:
    """Whatever they are made into."""
    with psycopg.connect(server.url, row_factory=factory) as own:
        task_id = broker.enqueue_in(own, ship, 1)
    assert enqueued(namespace) == [task_id]


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


def test_middlewares_see_what_is_sent(server: PostgresServer, namespace: str) -> None:
    """44: `pre_send` before it is stored, `post_send` when it is committed."""
    labels = Labels()
    broker = PostgresBroker(server.url, schema=namespace).with_middlewares(labels).register(ship)

    async def main() -> None:
        with broker.transaction() as tx:
            tx.enqueue(ship, 1)
            assert labels.seen == ["pre"]
        assert labels.seen == ["pre", "post"]
        async with actorq.open_system(broker, role="client") as sys:
            (queued,) = await sys.queued_tasks()
            assert queued.message.options.labels["tenant"] == "acme"

    trio.run(main)


def test_a_middleware_that_waits_is_refused(server: PostgresServer, namespace: str) -> None:
    """44: nothing is stored."""
    broker = PostgresBroker(server.url, schema=namespace).with_middlewares(Waits())
    with pytest.raises(MiddlewareError, match="pre_send"), broker.transaction() as tx:
        tx.enqueue(ship, 1)
    assert enqueued(namespace) == []


# --- much of it ---


async def test_what_is_committed_is_known_before_it_is_accepted(
    broker: PostgresBroker, own: psycopg.Connection[Any], namespace: str
) -> None:
    """43: who waits for it is not told that there is none; a step accepts only some of many."""
    broker.enqueue_in(own, ship, 0)
    own.execute(
        f"insert into {namespace}.inbox (sent, body) select jsonb_set(i.sent, '{{0}}', "
        f"to_jsonb('copy ' || n)), i.body from {namespace}.inbox i, generate_series(1, 9000) n".encode()
    )
    last = broker.enqueue_in(own, ship, 1)
    chain = broker.enqueue_in(own, ship | pack, 1)
    own.commit()
    async with actorq.open_system(broker, role="client") as system:
        ask = system.wiring.broker.ask
        assert await ask(Locate(chain)) == await ask(Locate(last)) == "pending"
        assert await ask(Locate("another")) == "unknown"


@actorq.task(name="weigh")
async def weigh(parcel: str) -> int:
    """In bytes."""
    return len(parcel)


async def test_a_transaction_may_enqueue_more_than_one_step_can_accept(
    server: PostgresServer, namespace: str, own: psycopg.Connection[Any]
) -> None:
    """42: 50 MB of arguments hold up nobody; what one step did not finish was begun for ever."""
    broker = PostgresBroker(server.url, schema=namespace, timeout=4.0).register(weigh)
    for _ in range(500):
        broker.enqueue_in(own, weigh, "x" * 100_000)
    own.commit()
    async with actorq.open_system(broker, role="client") as system:
        while (counts := await system.queue_statistics()).ready < 500:
            assert enqueued(namespace)  # each look accepts some
        assert counts.ready == 500
        (first, *_) = await system.queued_tasks(limit=500)
        assert first.message.args == ("x" * 100_000,)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_a_connection_may_have_another_encoding(
    broker: PostgresBroker, server: PostgresServer, namespace: str, encoding: str
) -> None:
    """31: what is enqueued on it has all its characters."""
    name = "Łódź, 名前"
    with psycopg.connect(server.url, client_encoding=encoding) as connection:
        broker.enqueue_in(connection, ship.using(queue=name), 1)
    async with actorq.open_system(broker, role="client") as system:
        assert (await system.queue_statistics()).queues == {name: 1}


@pytest.mark.parametrize("isolation", ["serializable", "repeatable read"])
def test_the_first_call_of_all_may_have_an_older_snapshot(
    broker: PostgresBroker, own: psycopg.Connection[Any], namespace: str, isolation: str
) -> None:
    """31: what is made meanwhile is not seen there, and is used all the same."""
    own.execute(f"set transaction isolation level {isolation}".encode())
    own.execute("select 1")
    task_id = broker.enqueue_in(own, ship, 1)
    own.commit()
    assert enqueued(namespace) == [task_id]
