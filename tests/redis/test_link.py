"""Replies are read as they are, in whatever pieces they come; a broken connection is said."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from actorq.engines.redis.link import Link, ServerSaid, _More, decoded, encoded
from actorq.engines.redis.where import Address
from actorq.engines.remote.storage import Interrupted, NotSent


Reply = Any

replies: st.SearchStrategy[Reply] = st.recursive(
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.binary(max_size=20)
    | st.from_regex("[A-Z]{3,8} [a-z]{0,8}", fullmatch=True).map(ServerSaid),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)


def as_sent(reply: Reply) -> bytes:
    """What a server writes."""
    match reply:
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % reply
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(reply), reply)
        case ServerSaid():
            return b"-%b\r\n" % str(reply).encode()
        case _:
            return b"*%d\r\n%b" % (len(reply), b"".join(map(as_sent, reply)))


def plain(reply: Reply) -> Reply:
    """To be compared."""
    if isinstance(reply, list):
        return [plain(each) for each in reply]
    return str(reply) if isinstance(reply, ServerSaid) else reply


class Pair:
    """A link, and the other side of it, which does what it is told."""

    def __init__(self) -> None:
        ours, self.theirs = socket.socketpair()
        ours.setblocking(False)
        self.link = Link(Address("test", 1), ours, None)

    def close(self) -> None:
        self.link.close()
        self.theirs.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Closed in the end."""
    made = Pair()
    yield made
    made.close()


@given(replies, st.binary(max_size=5))
def test_a_reply_is_read_to_its_end(reply: Reply, rest: bytes) -> None:
    """And no further; a part of it is not taken for all."""
    data = as_sent(reply)
    found, end = decoded(bytearray(data + rest), 0)
    assert (plain(found), end) == (plain(reply), len(data))
    for size in range(len(data)):
        with pytest.raises(_More) as more:
            decoded(bytearray(data[:size]), 0)
        assert size < more.value.args[0] <= len(data)


@given(st.lists(replies, min_size=1, max_size=3), st.lists(st.integers(1, 9), max_size=30))
def test_replies_may_come_in_pieces(all_of_them: list[Reply], sizes: list[int]) -> None:
    """Each is read once, in order."""

    async def main() -> None:
        pair = Pair()
        data = b"".join(map(as_sent, all_of_them))

        async def write() -> None:
            begin = 0
            for size in [*sizes, len(data)]:
                pair.theirs.send(data[begin : begin + size])
                begin += size
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            for reply in all_of_them:
                assert plain(await pair.link.read()) == plain(reply)
        pair.close()

    trio.run(main)


def test_a_command_is_written_as_redis_reads_it() -> None:
    """Any bytes."""
    assert encoded([b"SET", b"", b"\r\n"]) == b"*3\r\n$3\r\nSET\r\n$0\r\n\r\n$2\r\n\r\n\r\n"


async def test_an_error_is_raised(pair: Pair) -> None:
    """Its first word says which."""
    pair.theirs.send(b"-OOM no room\r\n")
    with pytest.raises(ServerSaid, match="no room") as said:
        await pair.link.call(b"SET")
    assert said.value.code == "OOM"
    assert pair.link.is_fresh()


async def test_who_does_not_speak_redis_is_found_out(pair: Pair) -> None:
    """A web server at the wrong port."""
    pair.theirs.send(b"HTTP/1.1 400 Bad Request\r\n")
    with pytest.raises(Interrupted, match="does not speak Redis"):
        await pair.link.call(b"PING")


async def test_a_closed_connection_is_in_doubt(pair: Pair) -> None:
    """The command was sent, and nobody knows what became of it."""
    assert pair.link.is_fresh()
    pair.theirs.shutdown(socket.SHUT_WR)
    assert not pair.link.is_fresh()
    with pytest.raises(Interrupted, match="closed the connection"):
        await pair.link.call(b"PING")


async def test_a_command_that_is_not_whole_was_not_sent(pair: Pair) -> None:
    """Nothing of it can have been done."""
    async with trio.open_nursery() as nursery:

        async def close() -> None:
            await trio.testing.wait_all_tasks_blocked()
            pair.theirs.close()

        nursery.start_soon(close)
        with pytest.raises(NotSent):
            await pair.link.call(b"SET", b"x" * (1 << 24))


async def test_what_is_too_much_at_once_is_sent_in_the_end(
    pair: Pair, nursery: trio.Nursery
) -> None:
    """And a long reply is read."""
    size = 1 << 22

    def answer() -> int:
        pair.theirs.settimeout(10)
        got = 0
        while got < size:
            got += len(pair.theirs.recv(1 << 20))
        pair.theirs.sendall(as_sent(b"y" * size))
        return got

    async def serve() -> None:
        assert await trio.to_thread.run_sync(answer) >= size

    nursery.start_soon(serve)
    assert await pair.link.call(b"SET", b"x" * size) == b"y" * size


async def test_closing_wakes_who_reads(pair: Pair, autojump_clock: trio.testing.MockClock) -> None:
    """A process that dies waits for nobody."""
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            with pytest.raises(Interrupted):
                await pair.link.read()

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        pair.link.close()
    pair.link.close()  # again does nothing
    assert not pair.link.is_fresh()
    with pytest.raises(NotSent):
        await pair.link.call(b"PING")


async def test_nobody_there_is_not_sent() -> None:
    """With where, and why."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = Address("127.0.0.1", free.getsockname()[1])
    with pytest.raises(NotSent, match=f"no connection to {address}: Connection refused"):
        await Link.open(address)
    with pytest.raises(NotSent, match="no connection to /nowhere"):
        await Link.open(Address("/nowhere"))
