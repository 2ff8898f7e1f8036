"""`RedisStorage`: a Redis server, as the broker, the result backend and the schedule source share it.

Owns the connections, finding the server (sentinels, a cluster), and how a call is written.  Each call is
one function call on the server, `law/entry.lua`.
"""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import accumulate
from typing import Any, Final

import attrs
import trio

from actorq.engines.redis.law import law
from actorq.engines.redis.link import Link, ServerSaid
from actorq.engines.redis.server import log_remarks, look_over, refused, size_of
from actorq.engines.redis.where import Address, where
from actorq.engines.remote.acts import Reply, Request, Topic
from actorq.engines.remote.information import Remark, ServerInformation
from actorq.engines.remote.storage import Interrupted, Lane, NotSent, RemoteStorage, understood
from actorq.errors import EngineUnavailable
from actorq.wire.binary import extra


log = logging.getLogger("actorq.storage")

#: What needs room: refused as a whole, when the server's memory is used up.  The rest is done all the
#: same: it keeps jobs alive, or makes room.
CAREFUL: Final = frozenset({"store", "replay", "set_results", "set_progress", "swap"})
#: Times that a call is sent on to another node of the cluster.
REDIRECTIONS: Final = 5
#: Seconds between two looks at a server that reads its data from disk.
LOADING: Final = 0.1
#: Seconds that one of several servers may take to answer, before the next is asked.
PATIENCE: Final = 2.0
#: Seconds of silence after which who listens asks whether anybody is there, and waits again.
SILENCE: Final = 5.0


@attrs.define(eq=False)
class _Reply(Reply):
    offsets: Sequence[int] = ()
    whole: bytes = b""

    def take(self, blob: Any) -> bytes:
        """Its bytes."""
        return self.whole[self.offsets[blob] : self.offsets[blob + 1]]


class RedisStorage(RemoteStorage):
    """One server, by its URL.  Give the same one to all parts that live in it: `RedisBroker` does that.

    *url*: ``redis://user:password@host:6379/0``, ``rediss://`` with TLS, ``unix:///path``,
    ``redis+sentinel://host1:26379,host2:26379/mymaster/0``, ``redis+cluster://host1:6379,host2:6379``.
    *namespace*: stands before each key, as ``{actorq}:...``; queues of different namespaces do not know
    of one another.  *recheck*: seconds after which what others did is seen, should the word of it be
    lost.  *timeout*: seconds that a call may take, trying again included.  *ssl_context*: how TLS is
    spoken, if the URL's ``ssl_...`` options do not suffice.
    """

    backup = "`redis-cli BGSAVE` on its server, and a copy of the file that this writes"

    def __init__(
        self,
        url: str = "redis://localhost:6379/0",
        *,
        namespace: str = "actorq",
        recheck: float = 1.0,
        timeout: float = 10.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(recheck=recheck, timeout=timeout)
        if not isinstance(namespace, str) or not re.fullmatch(r"[^\s{}]+", namespace):
            raise ValueError(
                f"namespace expects a name without spaces and braces, such as 'actorq'; "
                f"got {namespace!r}"
            )
        self.where = where(url)
        self.expected = self.where.expected
        self.namespace = namespace
        self._ssl = ssl_context
        if self.where.tls and ssl_context is None:
            self._ssl = self.where.ssl_context()
        self._msgpack = extra("msgpack", "redis", "RedisStorage()")
        self._meta = self._key("meta")
        self._law = law()
        self._scripts: tuple[bytes, bytes] | None = None  #: digests, where are no functions
        self._home: Address | None = None  #: the node of a cluster that has our slot
        self._nodes: list[Address] = []  #: of the cluster, that we know of
        self._idle: list[Link] = []
        self._links: set[Link] = set()
        self._gone = True

    # --- its life ---

    async def _connect(self) -> None:
        self._gone = False
        self._home, self._nodes = None, list(self.where.addresses)
        try:
            link = await self._dial()
            while not await self._looked_over(link):  # noqa: ASYNC110 - the server is asked
                await trio.sleep(LOADING)
            self._give_back(link)
            await self._send(self.request(writes=False), "broker", 0)
            await self._may_publish()
        except (NotSent, Interrupted) as why:
            self._abandon()
            raise NotSent(f"{why}; {self.expected}") from why
        except BaseException:
            self._abandon()
            raise

    async def _looked_over(self, link: Link) -> bool:
        """False while the server reads its data from disk."""
        try:
            log_remarks(str(self), await self._remarks(link))
        except ServerSaid as said:
            if said.code != "LOADING":
                raise refused(str(self), self.namespace, said) from None
            return False
        return True

    async def _may_publish(self) -> None:
        """A user without a right to our channels would work, and wait for each word in vain."""
        link = await self._borrow()
        try:
            await link.call(b"PUBLISH", self._key(f"peer:{self.peer}"), b"")
        except ServerSaid as said:
            raise refused(str(self), self.namespace, said) from None
        self._give_back(link)

    async def _remarks(self, link: Link) -> list[Remark]:
        return await look_over(str(self), link.call, cluster=self.where.kind == "cluster")

    async def information(self) -> ServerInformation:
        """What the server says of itself."""
        async with self._lent() as link:
            remarks = await self._remarks(link)
            server, size = await size_of(link.call)
        return ServerInformation(str(self), server, size, tuple(remarks))

    async def _disconnect(self) -> None:
        try:
            if self._idle:
                with suppress(NotSent, Interrupted, EngineUnavailable):
                    await self._send(self.request([["leave"]], writes=False), "broker", 0)
        finally:
            self._abandon()

    def _abandon(self) -> None:
        self._gone = True
        self._idle.clear()
        for link in list(self._links):
            self._drop(link)

    # --- connections ---

    async def _dial(self) -> Link:
        """A new connection, ready for calls."""
        self._refuse_if_gone()
        try:
            if self.where.kind == "sentinel":
                link = await self._dial_master()
            elif self.where.kind == "cluster":
                link = await self._dial_cluster()
            else:
                link = await self._open(self.where.addresses[0])
        except Interrupted as error:
            raise NotSent(str(error)) from error  # it was not yet about any call
        try:
            self._refuse_if_gone()
        except EngineUnavailable:
            link.close()
            raise
        self._links.add(link)
        return link

    def _refuse_if_gone(self) -> None:
        if self._gone:
            raise EngineUnavailable(f"{self}: this storage is closed")

    async def _open(self, address: Address) -> Link:
        link = await Link.open(address, self._ssl)
        try:
            await self._log_in(link, self.where.username, self.where.password)
            if self.where.database:
                await link.call(b"SELECT", b"%d" % self.where.database)
        except ServerSaid as said:
            link.close()
            raise refused(str(self), self.namespace, said) from None
        except BaseException:
            link.close()
            raise
        return link

    async def _log_in(self, link: Link, username: str, password: str) -> None:
        if password:
            login = [username, password] if username else [password]
            await link.call(b"AUTH", *[each.encode() for each in login])
        try:  # a courtesy to who looks at CLIENT LIST
            await link.call(b"CLIENT", b"SETNAME", b"actorq")
        except ServerSaid as said:
            if said.code == "DENIED" or "max number of clients" in str(said):
                raise  # it does not let us in, and hangs up

    async def _dial_first(
        self, addresses: Iterable[Address], dial: Callable[[Address], Awaitable[Link]]
    ) -> Link:
        """Whoever answers, in this order; one that is silent holds up the others for a moment."""
        reasons = []
        for address in addresses:
            with trio.move_on_after(PATIENCE) as limit:
                try:
                    return await dial(address)
                except (NotSent, Interrupted) as error:
                    reasons.append(str(error))
            if limit.cancelled_caught:
                reasons.append(f"{address} did not answer within {PATIENCE:g} s")
        raise NotSent("; ".join(reasons))

    async def _dial_master(self) -> Link:
        """Ask the sentinels."""

        async def dial(sentinel: Address) -> Link:
            address = await self._master_by(sentinel)
            link = await self._open(address)
            try:
                role = await link.call(b"ROLE")
            except ServerSaid:
                return link  # it may not be asked
            except BaseException:
                link.close()
                raise
            if role[0] != b"master":
                link.close()
                raise NotSent(f"{address} is no master (yet)")
            return link

        return await self._dial_first(self.where.addresses, dial)

    async def _master_by(self, sentinel: Address) -> Address:
        link = await Link.open(sentinel, self._ssl)
        try:
            await self._log_in(link, self.where.sentinel_username, self.where.sentinel_password)
            found = await link.call(
                b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", self.where.service.encode()
            )
        except ServerSaid as said:
            raise NotSent(f"sentinel {sentinel}: {said}") from None
        finally:
            link.close()
        if found is None:
            raise NotSent(f"sentinel {sentinel} knows no master {self.where.service!r}")
        return Address(found[0].decode(), int(found[1]))

    async def _dial_cluster(self) -> Link:
        """The node that has our slot if it is known, else any."""
        home, self._home = self._home, None  # until it answers

        async def dial(address: Address) -> Link:
            link = await self._open(address)
            if address != home:
                try:
                    await self._ask_for_nodes(link)
                except BaseException:
                    link.close()
                    raise
            self._home = address
            return link

        known = [*filter(None, [home]), *self._nodes]
        return await self._dial_first(dict.fromkeys(known), dial)

    async def _ask_for_nodes(self, link: Link) -> None:
        with suppress(ServerSaid):
            text: bytes = await link.call(b"CLUSTER", b"NODES")
            for line in text.decode().splitlines():
                place = line.split(" ")[1].partition("@")[0]
                host, _, port = place.rpartition(":")
                address = Address(host, int(port or 0))
                if host and address.port and address not in self._nodes:
                    self._nodes.append(address)

    async def _borrow(self) -> Link:
        while self._idle:
            link = self._idle.pop()
            if link.is_fresh():
                return link
            self._drop(link)
        return await self._dial()

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[Link]:
        """For commands that are no calls of the law; raises `EngineUnavailable`."""
        try:
            link = await self._borrow()
            try:
                yield link
            except BaseException:
                self._drop(link)
                raise
        except ServerSaid as said:
            raise refused(str(self), self.namespace, said) from None
        except (NotSent, Interrupted) as why:
            raise EngineUnavailable(f"{self}: {why}") from why
        self._give_back(link)

    def _give_back(self, link: Link) -> None:
        if self._gone or link.closed:
            self._drop(link)
        else:
            self._idle.append(link)

    def _drop(self, link: Link) -> None:
        self._links.discard(link)
        link.close()

    # --- calls ---

    async def _send(self, request: Request, lane: Lane, number: int) -> Reply:
        data: bytes = self._msgpack.packb(
            [
                request.acts,
                self.peer,
                lane,
                number,
                request.now,
                request.lease,
                request.view,
                request.seen,
                request.room,
                request.ttl,
                request.limit,
                request.early,
                request.remember,
                request.keep_dead,
            ],
            use_bin_type=False,  # Lua knows one kind of string
            unicode_errors="surrogatepass",
        )
        careful = any(act[0] in CAREFUL for act in request.acts)
        try:
            found = await self._ask(data, careful=careful)
        except Interrupted:
            if number:
                raise
            found = await self._ask(data, careful=careful)  # looking twice does no harm
        answers, rest, whole = found
        now, generation, previous, view, lengths = self._unpacked(rest)
        return _Reply(
            self._unpacked(answers),
            now,
            generation,
            previous,
            view,
            offsets=list(accumulate(lengths, initial=0)),
            whole=whole,
        )

    def _unpacked(self, data: bytes) -> Any:
        return self._msgpack.unpackb(data, unicode_errors="surrogatepass", strict_map_key=False)

    async def _ask(self, data: bytes, *, careful: bool) -> list[bytes]:
        for _ in range(REDIRECTIONS):
            link = await self._borrow()
            try:
                found: list[bytes] = await link.call(*self._command(careful), self._meta, data)
            except ServerSaid as said:
                self._give_back(link)
                await self._get_over(said, link)
            except BaseException:
                self._drop(link)
                raise
            else:
                self._give_back(link)
                return found
        raise NotSent("its cluster sent us from node to node")

    def _command(self, careful: bool) -> Sequence[bytes]:
        if self._scripts is not None:
            return (b"EVALSHA", self._scripts[not careful], b"1")
        return (b"FCALL", (self._law.careful if careful else self._law.anyway).encode(), b"1")

    async def _get_over(self, said: ServerSaid, link: Link) -> None:
        """After an error: make ready for another try, or raise what it means."""
        code = said.code
        if code == "NOSCRIPT" or (code == "ERR" and "Function not found" in str(said)):
            await self._teach()
        elif code == "MOVED" and self.where.kind == "cluster":
            host, _, port = str(said).split(" ")[2].rpartition(":")
            self._home = Address(host.strip("[]") or link.address.host, int(port))
            self._forget_idle()
        elif self._scripts is None and code in ("NOPERM", "ERR") and _no_functions(said):
            self._scripts = (b"", b"")
            await self._teach()
        else:
            if code in ("READONLY", "MASTERDOWN", "CLUSTERDOWN"):
                self._forget_idle()  # another has its place, or will have
            raise refused(str(self), self.namespace, said) from None

    def _forget_idle(self) -> None:
        for link in self._idle:
            self._drop(link)
        self._idle.clear()

    async def _teach(self) -> None:
        """Bring the law to the server."""
        link = await self._borrow()
        try:
            if self._scripts is None:
                try:
                    await link.call(b"FUNCTION", b"LOAD", self._law.library.encode())
                except ServerSaid as said:
                    if "already exists" not in str(said):
                        if not _no_functions(said):
                            raise
                        log.info("%s has no functions for us (%s): scripts instead", self, said)
                        self._scripts = (b"", b"")
            if self._scripts is not None:
                self._scripts = (
                    await link.call(b"SCRIPT", b"LOAD", self._law.careful_script.encode()),
                    await link.call(b"SCRIPT", b"LOAD", self._law.anyway_script.encode()),
                )
        except ServerSaid as said:
            self._give_back(link)
            raise refused(str(self), self.namespace, said) from None
        except Interrupted as error:
            self._drop(link)
            raise NotSent(str(error)) from error  # it was not yet about any call
        except BaseException:
            self._drop(link)
            raise
        self._give_back(link)

    # --- what is pushed ---

    async def _subscribe(
        self,
        topics: Collection[Topic],
        hear: Callable[[Topic, str, Collection[str] | None], None],
        ready: Callable[[], None],
    ) -> None:
        channels: dict[bytes, Topic] = {
            self._key(topic): topic for topic in topics if topic != "lines"
        }
        # the last one is for us alone; that somebody listens there shows that we are alive
        channels[self._key(f"peer:{self.peer}")] = "lines"
        to_come = len(channels)
        link = None
        with trio.move_on_after(self.timeout):
            link = await self._dial()
        if link is None:
            raise NotSent(f"no connection within {self.timeout:g} s")
        try:
            await link.send(b"SUBSCRIBE", *channels)
            asked = False
            while True:
                with trio.CancelScope() as silence:
                    while True:
                        silence.deadline = trio.current_time() + SILENCE
                        message = await link.read()
                        asked = False
                        if isinstance(message, ServerSaid):
                            raise refused(str(self), self.namespace, message)
                        if message[0] == b"message":
                            self._understand(channels[message[1]], message[2], hear)
                        elif message[0] == b"subscribe":
                            to_come -= 1
                            if to_come == 0:
                                ready()
                if asked:
                    raise Interrupted(f"{link.address} has been silent for {2 * SILENCE:g} s")
                asked = True
                await link.send(b"PING")
        finally:
            self._drop(link)

    def _understand(
        self,
        topic: Topic,
        said: bytes,
        hear: Callable[[Topic, str, Collection[str] | None], None],
    ) -> None:
        size = int.from_bytes(said[-4:], "big")
        try:
            peer, ids = understood(self._unpacked(said[size:-4]))
        except (ValueError, self._msgpack.UnpackException):
            return  # somebody else's
        hear(topic, peer, ids)
        if size and ids:
            (task_id,) = ids
            self.carry(peer, task_id, said[:size])

    async def say(self, topic: Topic, words: Sequence[str], *, to: str | None = None) -> None:
        """Push these words to who listens, or to one peer."""
        channel = self._key(topic if to is None else f"peer:{to}")
        head = self._msgpack.packb([self.peer, list(words)], unicode_errors="surrogatepass")
        async with self._lent() as link:
            await link.call(b"PUBLISH", channel, head + bytes(4))

    def _key(self, name: str) -> bytes:
        return f"{{{self.namespace}}}:{name}".encode()

    def __str__(self) -> str:
        return f"Redis at {self.where} (namespace {self.namespace!r})"


def _no_functions(said: ServerSaid) -> bool:
    """Whether the server has none, or does not allow them."""
    text = str(said).lower()
    return ("unknown command" in text or said.code == "NOPERM") and (
        "fcall" in text or "function" in text
    )
