"""A call is done exactly once though connections break, and what is pushed is heard again after that."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from actorq.engines.postgres.migrations import LONGEST
from actorq.engines.postgres.storage import PostgresStorage
from actorq.engines.postgres.trio_connection import TrioConnection
from actorq.engines.remote.acts import Reply, Topic
from actorq.errors import EngineUnavailable
from remote.calls import Cut, check_done_once, cuts
from servers import PostgresServer, Proxy, Server

from . import here


pytestmark = pytest.mark.engine

Through = Callable[[Server], Proxy]
TASKS: tuple[Topic, ...] = ("tasks",)
TASKS_AND_RESULTS: tuple[Topic, ...] = ("tasks", "results")


def plain(storage: PostgresStorage, count: int, said: str = "") -> Any:
    """A request that stores so many plain tasks."""
    request = storage.request()
    rows = []
    for number in range(count):
        body = request.put(f"{said}{number}".encode())
        row = [f"{said}{number}", body, None, "name", "default", 0, None, None, 10, None, None]
        rows.append(row)
    request.acts.append(["store", rows, False])
    return request


async def opened(storage: PostgresStorage) -> int:
    """A session."""
    request = storage.request([["open", "w", None, 1, "host"]])
    return int((await storage.call(request, "broker")).answers[0])


@settings(max_examples=25)
@given(some_cuts=cuts(900), calls=st.integers(1, 4))
def test_a_call_is_done_once_wherever_the_connection_is_cut(
    some_cuts: list[Cut], calls: int
) -> None:
    """31: in the request, in the reply, at any byte; in each, or in several one after another."""

    async def main() -> None:
        assert here.server is not None
        with Proxy(here.server.port) as proxy:
            storage = PostgresStorage(here.server.url_at(proxy.port), schema="cut")
            await check_done_once(storage, proxy, some_cuts, calls)

    trio.run(main)


async def test_a_claim_that_was_interrupted_gets_the_same_tasks(
    server: PostgresServer, namespace: str, through_proxy: Through
) -> None:
    """29, 31: with their bodies, which are not kept twice."""
    proxy = through_proxy(server)
    storage = PostgresStorage(server.url_at(proxy.port), schema=namespace)
    with trio.fail_after(60):
        await storage.open()
        await storage.call(plain(storage, 7), "broker")
        session = await opened(storage)
        proxy.cut_after(10, "replies")
        reply = await storage.call(storage.request([["claim", session, 5, []]]), "broker")
        claimed = reply.answers[0]["claimed"]
        assert [each[0] for each in claimed] == ["0", "1", "2", "3", "4"]
        assert [reply.take(each[5]) for each in claimed] == [b"0", b"1", b"2", b"3", b"4"]
        reply = await storage.call(storage.request([["claim", session, 5, []]]), "broker")
        assert [each[0] for each in reply.answers[0]["claimed"]] == ["5", "6"]
        await storage.close()


async def test_the_same_call_on_two_connections_at_once_is_done_once(
    storage: PostgresStorage,
) -> None:
    """31: the server may not have noticed yet that the first was cut."""
    with trio.fail_after(60):
        request = storage.request([["open", "w", None, 1, "host"]])
        replies: list[Reply] = []

        async def send(connection: TrioConnection) -> None:
            replies.append(await storage._ask(connection, request, "broker", 1))
            connection.drop()

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(send, await storage._open_calling())
        assert len({each.answers[0] for each in replies}) == 1


async def test_a_call_that_comes_too_late_is_not_done(storage: PostgresStorage) -> None:
    """31: another of this peer has been done after it."""
    with trio.fail_after(60):
        await storage._send(storage.request([["open", "w", None, 1, "host"]]), "broker", 5)
        with pytest.raises(Exception, match="call 4 of this peer came after its call 5"):
            await storage._send(storage.request([["open", "v", None, 1, "host"]]), "broker", 4)


async def test_a_server_that_is_killed_in_a_call_loses_nothing() -> None:
    """28, 31: it is asked again, and knows."""
    from servers.fixtures import running

    with running(PostgresServer(fsync=True)) as server, trio.fail_after(60):
        storage = PostgresStorage(server.url, timeout=30.0)
        await storage.open()
        stored = 0
        async with trio.open_nursery() as nursery:

            async def store() -> None:
                nonlocal stored
                while stored < 60:
                    with suppress(EngineUnavailable):  # certainly not done
                        await storage.call(plain(storage, 1, f"{stored}."), "broker")
                        stored += 1

            nursery.start_soon(store)
            while stored < 20:
                await trio.sleep(0.001)
            await trio.to_thread.run_sync(server.kill)
            await trio.to_thread.run_sync(server.start)
        assert server.ask("select count(*) from actorq.tasks") == [(60,)]
        await storage.close()


async def test_data_that_were_dropped_are_made_anew_and_it_is_said(
    storage: PostgresStorage, server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    """28: nobody crashes for ever; what was there is gone, and whoever runs it reads so."""
    caplog.set_level(logging.ERROR, logger="actorq")
    with trio.fail_after(60):
        await storage.call(plain(storage, 1), "broker")
        before = storage.generation
        server.ask(f"drop schema {storage.schema} cascade")
        await storage.call(plain(storage, 1), "broker")
        assert storage.generation not in ("", before)
    assert "lost all its data" in caplog.text


async def test_a_frozen_server_is_in_doubt_and_then_found_out(
    server: PostgresServer, namespace: str, through_proxy: Through
) -> None:
    """31: no answer within the timeout: nobody knows; the same call again finds out."""
    proxy = through_proxy(server)
    storage = PostgresStorage(server.url_at(proxy.port), schema=namespace)
    with trio.fail_after(60):
        await storage.open()
        storage.timeout = 0.5
        request = plain(storage, 3)
        proxy.freeze("replies")
        with pytest.raises(EngineUnavailable, match="could not be found out"):
            await storage.call(request, "broker")
        proxy.cut()
        proxy.thaw()
        storage.timeout = 20.0
        assert (await storage.call(request, "broker")).answers == [None]
        assert server.ask(f"select count(*) from {namespace}.tasks") == [(3,)]
        await storage.close()


# --- hearing ---


async def test_what_others_do_is_heard(
    storage: PostgresStorage, server: PostgresServer, namespace: str
) -> None:
    """43: with the ids; one's own is not, unless it is asked for."""
    other = PostgresStorage(server.url, schema=namespace, recheck=1000.0)
    storage.recheck = 1000.0
    heard: list[tuple[Any, Any]] = []
    own: list[tuple[Any, Any]] = []
    with trio.fail_after(60):
        await other.open()
        async with trio.open_nursery() as nursery:

            def hear(topic: Any, ids: Collection[str] | None) -> None:
                heard.append((topic, ids))

            nursery.start_soon(storage.listen, TASKS_AND_RESULTS, hear)
            listen_own = lambda: storage.listen(TASKS, lambda *said: own.append(said), own=True)  # noqa: E731
            nursery.start_soon(listen_own)
            while not own:
                await trio.sleep(0.01)
            await other.call(other.request([["give_up", "\x00\ud800", "why"]]), "results")
            await storage.call(plain(storage, 2), "broker")
            while ("tasks", None) not in own or ("results", ["\x00\ud800"]) not in heard:
                await trio.sleep(0.01)
            assert ("tasks", None) not in heard
            nursery.cancel_scope.cancel()
        await other.close()


async def test_a_schema_with_the_longest_name_is_heard(postgres_server: PostgresServer) -> None:
    """Channels are named after it, and the server takes 63 bytes."""
    storage = PostgresStorage(postgres_server.url, schema=f"t{secrets.token_hex(23)}x")
    assert len(storage.schema) == LONGEST
    await storage.open()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(storage.listen, TASKS, lambda *_: None)
            with trio.fail_after(20):
                await storage.subscribed.wait()
            nursery.cancel_scope.cancel()
    finally:
        await storage.close()


async def test_who_listens_hears_again_after_a_cut(
    server: PostgresServer, namespace: str, through_proxy: Through
) -> None:
    """43: and is told that it may have missed something."""
    proxy = through_proxy(server)
    storage = PostgresStorage(server.url_at(proxy.port), schema=namespace, recheck=1000.0)
    other = PostgresStorage(server.url, schema=namespace)
    heard: list[Any] = []
    with trio.fail_after(60):
        await storage.open()
        await other.open()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(storage.listen, TASKS, lambda topic, _: heard.append(topic))
            for number in range(3):
                while None not in heard:  # connected (again)
                    await trio.sleep(0.01)
                await other.call(plain(other, 1, f"{number}."), "broker")
                while "tasks" not in heard:
                    await trio.sleep(0.01)
                heard.clear()
                proxy.cut()
            nursery.cancel_scope.cancel()
        await storage.close()
        await other.close()


async def test_a_listener_that_is_cut_off_without_a_word_notices(
    server: PostgresServer,
    namespace: str,
    through_proxy: Through,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """43: it asks, now and then, whether anybody is there."""
    monkeypatch.setattr("actorq.engines.postgres.storage.SILENCE", 0.05)
    proxy = through_proxy(server)
    storage = PostgresStorage(server.url_at(proxy.port), schema=namespace, recheck=1000.0)
    heard: list[Any] = []
    with trio.fail_after(60):
        await storage.open()
        storage.timeout = 0.5
        async with trio.open_nursery() as nursery:
            nursery.start_soon(storage.listen, TASKS, lambda topic, _: heard.append(topic))
            while not heard:
                await trio.sleep(0.01)
            proxy.freeze()
            while storage._listening is not None:
                await trio.sleep(0.01)
            heard.clear()
            proxy.thaw()
            while not heard:
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        await storage.close()


# --- presence ---


async def test_whose_connection_has_ended_is_gone(
    storage: PostgresStorage, server: PostgresServer, namespace: str
) -> None:
    """29: unless the server itself may have ended it, or nothing was known of it."""
    schema = storage.schema
    others = [PostgresStorage(server.url, schema=namespace) for _ in range(2)]

    def gone() -> list[tuple[bool]]:
        me = f"row('{storage.peer}', 'broker', 0, 30, true, 1, 1, false, null)::{schema}.moment"
        peers = [others[0].peer, others[1].peer, "nobody"]
        return [
            row for peer in peers for row in server.ask(f"select {schema}.is_gone({me}, '{peer}')")
        ]

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for each in (storage, *others):
                ready = trio.Event()
                if each is not storage:
                    await each.open()
                nursery.start_soon(each.listen, TASKS, lambda *_, ready=ready: ready.set())
                await ready.wait()
            assert gone() == [(False,), (False,), (False,)]
            others[0].die()
            while server.ask(
                f"select from {schema}.presence join pg_stat_activity using (pid) where peer = %s",
                others[0].peer,
            ):
                await trio.sleep(0.01)
            assert gone() == [(False,), (False,), (False,)], "we have not been here for long"
            function = f"create or replace function {schema}.is_gone"
            (body,) = server.ask(
                "select pg_get_functiondef(p.oid) from pg_proc p where p.proname = 'is_gone' "
                "and p.pronamespace = %s::regnamespace",
                schema,
            )[0]
            server.ask(body.replace("6 s", "0 s").replace(function.upper(), function))
            assert gone() == [(True,), (False,), (False,)]
            nursery.cancel_scope.cancel()
        await others[1].close()


async def test_who_closes_in_order_is_not_asked_for_any_more(
    server: PostgresServer, namespace: str
) -> None:
    """29: what it had to tell is anybody's at once."""
    storage = PostgresStorage(server.url, schema=namespace)
    with trio.fail_after(60):
        await storage.open()
        await opened(storage)
        assert server.ask(f"select count(*) from {namespace}.calls") == [(1,)]
        await storage.close()
    assert server.ask(f"select count(*) from {namespace}.calls") == [(0,)]


async def test_a_caller_that_is_forgotten_goes_on(storage: PostgresStorage) -> None:
    """31: after a long silence; what it said last is not asked for again."""
    with trio.fail_after(60):
        for now in (1e9, 1e9 + 1.0, 1e9 + 1e5, 1e9 + 1e5 + 1.0):
            request = storage.request([["open", f"w{now}", None, 1, "host"]])
            request.now = now
            reply = await storage.call(request, "broker")
        assert reply.previous == 3
        peer = storage.peer
        storage.peer = "another"
        request = storage.request([["open", "v", None, 1, "host"]])
        request.now = now + 1e6
        assert (await storage._send(request, "broker", 1)).previous is None
        storage.peer = peer
        request = storage.request([["open", "u", None, 1, "host"]])
        request.now = now + 1e6
        assert (await storage.call(request, "broker")).previous is None


async def test_what_was_prepared_may_be_gone(storage: PostgresStorage) -> None:
    """31: somebody in between has lent us another connection, or discarded all."""
    with trio.fail_after(60):
        await storage.call(plain(storage, 1), "broker")
        assert storage._calling is not None
        await storage._calling.execute("discard all")
        reply = await storage.call(plain(storage, 1, "more"), "broker")
        assert reply.answers == [None]


async def test_a_dead_letter_that_is_gone_is_not_replayed(storage: PostgresStorage) -> None:
    """28: somebody else has replayed or purged it meanwhile: nothing of it is enqueued."""
    with trio.fail_after(60):
        request = plain(storage, 1)
        ((_, (sent,), _),) = request.acts
        request.acts[:] = [["replay", [["gone", sent]], False]]
        assert (await storage.call(request, "broker")).answers == [{"ids": [None]}]
