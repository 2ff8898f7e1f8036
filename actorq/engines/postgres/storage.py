"""`PostgresStorage`: a schema in a PostgreSQL database, as all parts that live in it share it.

Two connections: one for calls, each a statement of its own, and one that listens.
"""

from __future__ import annotations

import difflib
import json
import logging
import math
import select
import uuid
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any, Final

import attrs
import psycopg
import trio
from psycopg import errors, pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import ConnStatus

from actorq._version import __version__
from actorq.engines.postgres.escapes import dumps, loads, unescape
from actorq.engines.postgres.looking_over import look_over
from actorq.engines.postgres.migrations import VERSION, check_name, newer, prepare
from actorq.engines.postgres.trio_connection import QuickLock, TrioConnection
from actorq.engines.postgres.troubles import explained, state_of
from actorq.engines.remote.acts import Act, Reply, Request, Topic
from actorq.engines.remote.information import ServerInformation
from actorq.engines.remote.storage import Interrupted, Lane, NotSent, RemoteStorage, understood
from actorq.errors import ActorqError, EngineUnavailable


log = logging.getLogger("actorq.storage")

#: The oldest server, as `server_version_num` has it.
OLDEST: Final = 130_000
#: Seconds that a listening connection may be silent before it is asked whether it lives.
SILENCE: Final = 15.0
#: Seconds within which a notification of our own comes back, if it comes at all.
ECHO: Final = 2.0
#: A statement that has been sent so often is prepared, as psycopg does unless told; calls are at once.
PREPARED_AFTER: Final = 5
#: How often a call is tried that got into the way of another, or finds no connection; and the pause.
TRIES: Final = 5
PAUSE: Final = 0.02

#: What the law's statements are planned and run with.  Bulk loads leave no statistics, and then the
#: planner would sort the backlog.
SETTINGS: Final = {
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
    "default_transaction_isolation": "read committed",
}

_CHECK: Final = """select current_setting('server_version_num')::int, pg_is_in_recovery(),
    current_setting('transaction_read_only'), current_setting('server_encoding'),
    current_setting('fsync'), current_setting('synchronous_commit'),
    current_setting('default_transaction_isolation'), pg_backend_pid()"""

#: The call got into the way of another: nothing was done.
_AGAIN: Final = frozenset({"40001", "40P01", "55P03"})
#: What is to be there is not, or is not what this connection took it for: somebody made it anew, or a
#: pooler lent another connection.  Nothing was done; on a new connection it is looked after.
_MISSING: Final = frozenset(
    {"42883", "42P01", "3F000", "42704", "55000", "26000", "42P05", "0A000", "XX000"}
)
#: The server, or somebody there, ended the connection: nobody knows what became of the call.
_ENDED: Final = frozenset({"57P01", "57P02", "57P03", "57P05"})


@attrs.define(eq=False)
class PostgresRequest(Request):
    """A request whose blobs are sent beside it, as one: a list of them costs ten times as much."""

    _size: int = 0  #: of all blobs

    def put(self, data: bytes) -> int:
        """Its place: where it begins, and how long it is."""
        place = self._size << 31 | len(data)
        self.blobs.append(data)
        self._size += len(data)
        return place


@attrs.define(eq=False)
class PostgresReply(Reply):
    """A reply whose blobs came beside it."""

    bodies: list[bytes] = attrs.field(factory=list)

    def take(self, blob: int) -> bytes:
        """The one in that place."""
        return self.bodies[blob]


class PostgresStorage(RemoteStorage):
    """A schema in a PostgreSQL database.  Give the same one to all parts that live in it.

    *conninfo*: as libpq knows it, a `postgresql://` URL or `host=... dbname=...`.  *schema*: its name,
    made when it is not there.  *recheck*: seconds after which what others did is seen, should the
    word of it be lost.  *timeout*: seconds that a call may take, trying again included.
    """

    backup = (
        "back up its database: `pg_dump --schema=SCHEMA DATABASE` (the schema is actorq unless told) is "
        "one moment of the queue, and workers go on meanwhile"
    )
    expected = (
        "expected a PostgreSQL server there: does it run, and does the URL name its host and port?"
    )

    def __init__(
        self,
        conninfo: str = "postgresql://localhost/postgres",
        *,
        schema: str = "actorq",
        recheck: float = 1.0,
        timeout: float = 10.0,
    ) -> None:
        super().__init__(recheck=recheck, timeout=timeout)
        self.conninfo = conninfo
        self.schema = check_name(schema)
        self.parameters = _parameters(conninfo, timeout)  #: of each connection; the password too
        self._calling: TrioConnection | None = None
        self._listening: TrioConnection | None = None
        self._busy = QuickLock()
        self._has_died = False
        self._is_pooled = False  #: it is not the server itself that we are connected to
        self._is_deaf = False  #: notifications do not come through
        self._has_warned = False

    def request(self, acts: Any = (), *, writes: bool = True) -> Request:
        """One to be filled."""
        return PostgresRequest(list[Act](acts), writes=writes)

    # --- connections ---

    async def _connect(self) -> None:
        self._has_died = False
        self._is_deaf = False
        self._busy = QuickLock()
        self._calling = await self._open_calling()

    async def _disconnect(self) -> None:
        """And forget our calls: nothing of them will be asked again, and who holds nothing has left."""
        await trio.lowlevel.checkpoint()
        try:
            calling = self._calling
            if calling is not None:
                with suppress(psycopg.Error, NotSent):
                    if not _is_alive(calling):  # the end came while it was asked something
                        calling = self._calling = await self._open_one()
                    for table in ("calls", "presence"):
                        leaving = f'delete from "{self.schema}".{table} where peer = %s'
                        await calling.execute(leaving.encode(), (self.peer,), prepare=False)
        finally:
            self._drop()

    def _abandon(self) -> None:
        self._has_died = True
        self._drop()

    def _drop(self) -> None:
        connections = self._calling, self._listening
        self._calling = self._listening = None
        for connection in connections:
            if connection is not None:
                connection.drop()

    async def _open_one(self) -> TrioConnection:
        try:
            connection = await TrioConnection.connect(
                make_conninfo("", **self.parameters), autocommit=True, prepare_threshold=None
            )
        except psycopg.Error as error:
            raise NotSent(explained(error)) from error
        connection.patience = 0.0  # what is not waited for any more is not used any more
        return connection

    async def _open_calling(self) -> TrioConnection:
        """Ready for calls: checked, and the schema is there."""
        connection = await self._open_one()
        try:
            await self._check_server(connection)
            await prepare(connection, self.schema)
        except psycopg.Error as error:
            was_lost = _is_lost(connection, error)
            connection.drop()
            if was_lost:
                raise NotSent(explained(error)) from error
            raise EngineUnavailable(f"{self}: {explained(error)}") from error
        except EngineUnavailable as error:
            connection.drop()
            raise EngineUnavailable(f"{self}: {error}") from error
        except BaseException:
            connection.drop()
            raise
        return connection

    async def _check_server(self, connection: TrioConnection) -> None:
        row = await (await connection.execute(_CHECK)).fetchone()
        assert row is not None
        version, is_standby, read_only, encoding, fsync, committed, isolation, pid = row
        if version < OLDEST:
            raise EngineUnavailable(
                f"the server is PostgreSQL {version // 10_000}; actorq needs PostgreSQL "
                f"{OLDEST // 10_000} or newer: upgrade the server, or give the URL of another"
            )
        if is_standby or read_only == "on":
            what = "is a standby" if is_standby else "has default_transaction_read_only on"
            raise EngineUnavailable(
                f"the server {what}, which takes no writes: connect to the primary, or name all hosts, "
                f"as in postgresql://one,two/db?target_session_attrs=read-write"
            )
        if encoding != "UTF8":
            raise EngineUnavailable(
                f"the database keeps text as {encoding}, which cannot say every name: expected UTF8, as "
                f"in: create database tasks encoding 'UTF8' template template0"
            )
        # a pooler hands out process ids of its own
        self._is_pooled = pid != connection.pgconn.backend_pid
        if not self._is_pooled:  # else what one server prepared, another would be asked for
            connection.prepare_threshold = PREPARED_AFTER
        if self._is_pooled:
            if isolation != "read committed":
                raise EngineUnavailable(
                    f"default_transaction_isolation is {isolation!r} for this user or database, and "
                    f"cannot be changed by us through a pooler: expected 'read committed', as in: alter "
                    f"role ... set default_transaction_isolation = 'read committed'"
                )
        else:
            await self._set(connection, version)
        if not self._has_warned:
            self._has_warned = True
            for warning in _warnings(fsync, committed):
                log.warning("%s: %s", self, warning)

    async def _set(self, connection: TrioConnection, version: int) -> None:
        timeout = f"{math.ceil(self.timeout * 1000)}"
        settings = {
            **SETTINGS,
            "statement_timeout": timeout,
            "lock_timeout": "0",
            "idle_in_transaction_session_timeout": "0",
        }
        if version >= 140_000:
            settings["idle_session_timeout"] = "0"
        query = ", ".join(["set_config(%s, %s, false)"] * len(settings))
        values = [word for setting in settings.items() for word in setting]
        await connection.execute(f"select {query}".encode(), values)
        if version >= 140_000:
            try:  # a statement whose caller is gone is ended at its next wait
                await connection.execute("set client_connection_check_interval = '1s'")
            except psycopg.Error as error:
                if _is_lost(connection, error):
                    raise
                log.debug("%s: %s", self, explained(error))

    async def _ready(self) -> TrioConnection:
        """The connection for calls, a new one if it was lost.  Only while `_busy` is held."""
        connection = self._calling
        if connection is not None and _is_alive(connection):
            return connection
        if connection is not None:
            self._calling = None
            connection.drop()
        self._refuse_if_dead()
        connection = await self._open_calling()
        try:
            self._refuse_if_dead()
        except BaseException:
            connection.drop()
            raise
        self._calling = connection
        return connection

    def _refuse_if_dead(self) -> None:
        if self._has_died:
            raise EngineUnavailable(f"{self}: it was killed")

    # --- calls ---

    async def _send(self, request: Request, lane: Lane, number: int) -> Reply:
        async with self._busy:
            tries = TRIES
            while True:
                tries -= 1
                try:
                    connection = await self._ready()
                except NotSent:
                    if not tries or self._has_died:
                        raise
                    await trio.sleep(PAUSE)
                    continue
                try:
                    return await self._ask(connection, request, lane, number)
                except psycopg.Error as error:
                    state = state_of(error)
                    if _is_lost(connection, error):
                        connection.drop()
                        if tries and not number and not self._has_died:
                            continue  # it only looked
                        raise Interrupted(explained(error)) from error
                    if tries and state in _AGAIN:
                        continue
                    if tries and state in _MISSING:  # somebody dropped it: it is made anew
                        connection.drop()
                        continue
                    if state == "25006":  # it was the primary: look for that
                        connection.drop()
                    raise self._refused(error) from error
                except BaseException:
                    connection.drop()
                    raise

    async def _ask(
        self, connection: TrioConnection, request: Request, lane: Lane, number: int
    ) -> Reply:
        asked = dumps(
            {
                "law": VERSION,
                "peer": self.peer,
                "lane": lane,
                "number": number,
                "acts": request.acts,
                "now": request.now,
                "lease": request.lease,
                "view": request.view,
                "seen": request.seen,
                "room": request.room,
                "ttl": request.ttl,
                "limit": request.limit,
                "early": request.early,
                "remember": request.remember,
                "keep_dead": request.keep_dead,
            }
        )
        cursor = connection.cursor(binary=True)
        function = "perform_pooled" if self._is_pooled else "perform"
        query = f'select reply::text, taken from "{self.schema}".{function}(%s::jsonb, %s::bytea)'
        given = b"".join(request.blobs)
        await cursor.execute(query.encode(), (asked, given), prepare=not self._is_pooled)
        row = await cursor.fetchone()
        assert row is not None
        reply = loads(row[0])
        return PostgresReply(
            reply["answers"],
            reply["now"],
            reply["generation"],
            reply["previous"],
            reply["view"],
            bodies=row[1],
        )

    def _refused(self, error: psycopg.Error) -> Exception:
        state = state_of(error)
        if state == "AQ003":
            return newer(self.schema, "another")
        if state == "AQ002":
            return ActorqError(f"{self}: {explained(error)}")
        return EngineUnavailable(f"{self}: {explained(error)}")

    # --- hearing ---

    async def _subscribe(
        self,
        topics: Collection[Topic],
        hear: Callable[[Topic, str, Collection[str] | None], None],
        ready: Callable[[], None],
    ) -> None:
        connection: TrioConnection | None = None
        try:
            with trio.move_on_after(self.timeout) as limit:
                connection = self._listening = await self._open_one()
                await self._begin_to_listen(connection, topics)
            if connection is None or limit.cancelled_caught:
                raise Interrupted(f"no answer within {self.timeout:g} s")
            ready()
            while True:
                for topic, peer, ids in await self._next(connection):
                    hear(topic, peer, ids)
        except psycopg.Error as error:
            raise Interrupted(explained(error)) from error
        finally:
            if connection is not None:
                if self._listening is connection:
                    self._listening = None
                connection.drop()

    async def _begin_to_listen(self, connection: TrioConnection, topics: Collection[Topic]) -> None:
        channels = [self._channel(topic) for topic in sorted(topics) if topic != "lines"]
        channels.append(self._channel_to(self.peer))
        listening = "; ".join(f'listen "{channel}"' for channel in channels)
        await connection.execute(listening.encode())
        await self._listen_for_echo(connection)
        if not self._is_pooled:  # else it is not ours alone
            present = f'select "{self.schema}".be_present(%s), "{self.schema}".forget_absent()'
            await connection.execute(present.encode(), (self.peer,))

    async def _next(
        self, connection: TrioConnection
    ) -> list[tuple[Topic, str, Collection[str] | None]]:
        while True:
            said: list[psycopg.Notify] | None = None
            with trio.move_on_after(SILENCE):
                said = await connection.next_notifies()
            if said is not None:
                return [each for notify in said for each in self._understood(notify)]
            with trio.move_on_after(self.timeout) as answer:  # a cut line says nothing by itself
                await connection.execute("select 1")
            if answer.cancelled_caught:
                raise Interrupted(f"no answer within {self.timeout:g} s")

    def _understood(
        self, notify: psycopg.Notify
    ) -> list[tuple[Topic, str, Collection[str] | None]]:
        topic: Any = notify.channel.removeprefix(f"{self.schema}:")
        if notify.channel == self._channel_to(self.peer):
            topic = "lines"
        try:
            peer, ids = understood(json.loads(notify.payload))
        except ValueError:
            return []  # somebody else's, or an echo
        return [(topic, peer, None if ids is None else [unescape(each) for each in ids])]

    def _channel(self, topic: str) -> str:
        return f"{self.schema}:{topic}"

    def _channel_to(self, peer: str) -> str:
        """A channel's name has 63 bytes, and the schema's may have 48."""
        return f"{self.schema}:{peer[:13]}"

    @property
    def hears(self) -> bool:
        """Whether notifications come through."""
        return self.is_open and not self._is_deaf

    async def say(self, topic: Topic, words: Sequence[str], *, to: str | None = None) -> None:
        """Push these words to who listens, or to one peer."""
        channel = self._channel(topic) if to is None else self._channel_to(to)
        try:
            await self._notify(channel, dumps([self.peer, list(words)]))
        except (NotSent, Interrupted) as why:
            raise EngineUnavailable(f"{self}: {why}") from why

    async def _notify(self, channel: str, payload: str) -> None:
        async with self._busy:
            connection = await self._ready()
            try:
                await connection.execute(
                    "select pg_notify(%s, %s)", (channel, payload), prepare=False
                )
            except psycopg.Error as error:
                connection.drop()
                raise Interrupted(explained(error)) from error
            except BaseException:
                connection.drop()
                raise

    async def _listen_for_echo(self, connection: TrioConnection) -> None:
        """Find out whether notifications come through: behind some poolers they do not."""
        channel = self._channel_to(uuid.uuid4().hex)
        await connection.execute(f'listen "{channel}"'.encode())
        await self._notify(channel, "echo")
        echoed = False
        with trio.move_on_after(ECHO):
            while not echoed:
                said = await connection.next_notifies()
                echoed = any(each.channel == channel for each in said)
        was_deaf, self._is_deaf = self._is_deaf, not echoed
        if self._is_deaf and not was_deaf:
            log.warning(
                "%s: notifications do not come through, so what other processes do is seen every %g s "
                "only. %s",
                self,
                self.recheck,
                "A pooler is in between, which lends each statement another connection: connect past "
                "it, or by a pool of its in session mode (pgbouncer: pool_mode=session)"
                if self._is_pooled
                else "Is something between here and the server that keeps them back?",
            )
        if not connection.closed:
            await connection.execute(f'unlisten "{channel}"'.encode())

    async def information(self) -> ServerInformation:
        """What the server says of itself; what we may not ask it is left out.

        Raises `EngineUnavailable` if it cannot be asked.
        """
        opened: list[TrioConnection] = []
        try:
            with trio.fail_after(self.timeout):
                for _ in range(2):
                    opened += [await self._open_one()]
                asking, hearing = opened
                return await look_over(asking, hearing, f"{self}", self.schema)
        except psycopg.Error as error:
            raise EngineUnavailable(f"{self}: {explained(error)}") from error
        except NotSent as why:
            raise EngineUnavailable(f"{self}: {why}") from why
        except trio.TooSlowError as why:
            raise EngineUnavailable(f"{self} did not answer within {self.timeout:g} s") from why
        finally:
            for connection in opened:
                connection.drop()

    def __str__(self) -> str:
        """Where it is, without passwords."""
        given = self.parameters
        host = given.get("host") or given.get("hostaddr") or "the default host"
        port = f":{given['port']}" if given.get("port") else ""
        database = given.get("dbname") or given.get("user") or "the default database"
        return f"PostgreSQL {host}{port}/{database} (schema {self.schema})"


def _parameters(conninfo: str, timeout: float) -> dict[str, Any]:
    """What is given, and what is ours where nothing is."""
    if not isinstance(conninfo, str):
        raise TypeError(
            f"PostgreSQL is named by a string, 'postgresql://user@host/database' or 'host=... "
            f"dbname=...'; got {type(conninfo).__name__}"
        )
    scheme, found, _ = conninfo.partition("://")
    if found and "+" in scheme and scheme.startswith("postgres"):
        raise ValueError(
            f"{scheme}:// is SQLAlchemy's way to name a driver; here it is postgresql://"
        )
    if found and _quotes_missing(conninfo):
        raise ValueError(
            f"{scheme}://...: an @ where a host or a database is expected; within a user's name, a "
            f"password or a database's name write %40 for @, %2F for /, %3A for : and %3F for ?"
        )
    try:
        given = conninfo_to_dict(conninfo)
    except errors.ProgrammingError:  # its text may have the password in it
        shape = f"{scheme}://..." if found else "key=value ..."
        raise ValueError(
            f"cannot read the connection string ({shape}): expected a URL, "
            f"postgresql://user:password@host:port/database?option=value, or words, host=... port=... "
            f"dbname=... user=...; in a URL, special characters of a password are written as %XX"
            f"{_meant(conninfo)}"
        ) from None
    ours: dict[str, Any] = {
        "fallback_application_name": f"actorq {__version__}",
        "connect_timeout": max(2, int(timeout / 2)),
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": int(max(timeout, 1.0) * 1000),
    }
    # whatever the role or PGCLIENTENCODING says: another one cannot write every name
    given["client_encoding"] = "utf8"
    if "," in f"{given.get('host') or ''}{given.get('hostaddr') or ''}":
        ours["target_session_attrs"] = "read-write"  # whichever is the primary now
    return {**ours, **given}


def _quotes_missing(url: str) -> bool:
    """Whether libpq would take the rest of a password for a host or a database, which are shown."""
    place = url.partition("://")[2].partition("?")[0]
    login, at, rest = place.partition("@")
    return "@" in (place if "/" in login else rest if at else "")


def _meant(url: str) -> str:
    """Which option of libpq's a slip in a URL may mean.  What was written is not shown: it may be
    half a password."""
    known = [each.keyword.decode() for each in pq.Conninfo.get_defaults()]
    for part in filter(None, url.partition("?")[2].split("&")):
        name = part.partition("=")[0]
        close = difflib.get_close_matches(name, known, 1, 0.8)
        if name not in known and close:
            return f" (did you mean {close[0]}= in its query?)"
    return ""


def _warnings(fsync: str, committed: str) -> list[str]:
    warnings: list[str] = []
    if fsync == "off":
        warnings.append(
            "fsync is off: a crash of the server's machine may damage the whole database. Turn it on, "
            "unless this is a test"
        )
    if committed == "off":
        warnings.append(
            "synchronous_commit is off: a crash of the server loses what was accepted in the last "
            "moments before. Turn it on for what must not be lost: alter role ... set "
            "synchronous_commit = on"
        )
    return warnings


def _is_lost(connection: TrioConnection, error: BaseException) -> bool:
    """Whether the connection broke: what was sent on it may have been done."""
    return (
        connection.closed
        or connection.pgconn.status == ConnStatus.BAD
        or state_of(error) in _ENDED
        or state_of(error).startswith("08")
        # said by nobody at the server: who knows in which state this end of it is
        or (
            not state_of(error)
            and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        )
    )


def _is_alive(connection: TrioConnection) -> bool:
    """False if its end is known here already: better than to find that out by sending."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    if poll.poll(0):
        try:
            connection.pgconn.consume_input()
        except psycopg.Error:
            return False
    return connection.pgconn.status == ConnStatus.OK
