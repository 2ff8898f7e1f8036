"""The proxy does to connections what it is told, and to nothing else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from servers.proxy import Proxy, Way


pytestmark = pytest.mark.engine


@pytest.fixture
def echo() -> Iterator[int]:
    """A port on which everything is said again."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=repeat, args=(connection,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def repeat(connection: socket.socket) -> None:
    """Until it is closed."""
    with connection:
        try:
            while data := connection.recv(1 << 16):
                connection.sendall(data)
        except OSError:
            pass


@pytest.fixture
def proxy(echo: int) -> Iterator[Proxy]:
    """One that leads to it."""
    with Proxy(echo) as proxy:
        yield proxy


def connect(proxy: Proxy) -> socket.socket:
    """Through it."""
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=5)


def hear(connection: socket.socket) -> bytes:
    """All that comes until it is closed."""
    said = b""
    try:
        while data := connection.recv(1 << 16):
            said += data
    except ConnectionError:
        pass
    return said


def test_all_is_passed_on(proxy: Proxy) -> None:
    """Both ways, in order."""
    sent = bytes(range(256)) * 4000
    with connect(proxy) as connection:
        sender = threading.Thread(target=connection.sendall, args=(sent,))
        sender.start()
        came = b""
        while len(came) < len(sent):
            came += connection.recv(1 << 16)
        sender.join()
        assert came == sent
        assert proxy.connections == 1
    assert proxy.passed == {"requests": len(sent), "replies": len(sent)}


@pytest.mark.parametrize("way", ["requests", "replies"])
@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_is_cut_after_so_many_bytes(proxy: Proxy, way: Way, reset: bool) -> None:
    """Not one more passes; the next connection is not cut."""
    proxy.cut_after(7, way, reset=reset)
    with connect(proxy) as connection:
        connection.sendall(b"abcdefghijklmnopqrstuvwxyz")
        assert b"abcdefg".startswith(hear(connection))
    assert proxy.passed[way] == 7
    assert (proxy.were_cut, proxy.cuts_to_come) == (1, 0)
    with connect(proxy) as connection:
        connection.sendall(b"again, and longer than before")
        assert connection.recv(5) == b"again"


def test_several_cuts_wait_for_their_bytes(proxy: Proxy) -> None:
    """The second hits the connection that comes after the first."""
    proxy.cut_after(3)
    proxy.cut_after(5)
    for passed in (3, 5):
        with connect(proxy) as connection:
            connection.sendall(b"abcdef")
            hear(connection)
        assert proxy.passed["requests"] == passed


def test_it_refuses_and_accepts_again(proxy: Proxy) -> None:
    """On the same port; who is connected stays so."""
    with connect(proxy) as before:
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)
        before.sendall(b"here")
        assert before.recv(4) == b"here"
        proxy.accept()
        with connect(proxy) as after:
            after.sendall(b"too")
            assert after.recv(3) == b"too"


def test_it_is_away(proxy: Proxy) -> None:
    """Nobody stays connected."""
    with connect(proxy) as connection:
        connection.sendall(b"here")
        assert connection.recv(4) == b"here"
        proxy.away()
        assert hear(connection) == b""
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)


@pytest.mark.parametrize("way", ["requests", "replies"])
def test_what_is_frozen_comes_later(proxy: Proxy, way: Way) -> None:
    """Nothing is lost, and nobody is told."""
    with connect(proxy) as connection:
        proxy.freeze(way)
        connection.sendall(b"here")
        connection.settimeout(0.05)
        with pytest.raises(TimeoutError):
            connection.recv(4)
        connection.settimeout(5)
        proxy.thaw()
        assert connection.recv(4) == b"here"


def test_what_is_delayed_comes_later_in_its_order(proxy: Proxy) -> None:
    """Each piece by itself: ten pieces are not late ten times over."""
    import time

    proxy.delay(0.1)
    with connect(proxy) as connection:
        began = time.monotonic()
        for number in range(10):
            connection.sendall(b"%d" % number)
        came = b""
        while len(came) < 10:
            came += connection.recv(10)
        took = time.monotonic() - began
    assert came == b"0123456789"
    assert took >= 0.2


def test_who_is_not_there_is_a_broken_connection() -> None:
    """Of a server that is down."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    with Proxy(port) as proxy, connect(proxy) as connection:
        assert hear(connection) == b""
