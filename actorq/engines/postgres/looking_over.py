"""What there is to remark on a PostgreSQL server: for `actorq doctor`, and for who asks in a program.

Each question stands alone: what the user may not ask is left out, and hides nothing else.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any, Final

import psycopg
import trio

from actorq.engines.postgres.trio_connection import TrioConnection
from actorq.engines.remote.information import Remark, ServerInformation


#: Seconds within which a notification comes through, if it does at all.
ECHO: Final = 2.0
#: A transaction that has been open for so many seconds keeps vacuum from its work.
LONG: Final = 3600.0
#: The part of all connections above which the next process may find none.
MANY: Final = 0.8
#: Dead rows of a table that nobody cleans up: so many, and more than there are live ones.
DEAD: Final = 200_000

_SETTINGS: Final = """select name, setting from pg_settings where name in ('server_version', 'fsync',
    'synchronous_commit', 'synchronous_standby_names', 'autovacuum', 'max_connections')"""
_SIZE: Final = """select sum(pg_total_relation_size(c.oid))::bigint from pg_class c
    where c.relnamespace = to_regnamespace(%s) and c.relkind in ('r', 'S')"""
_CONNECTIONS: Final = (
    "select count(*), pg_backend_pid() from pg_stat_activity where backend_type = 'client backend'"
)
_LONGEST: Final = """select extract(epoch from clock_timestamp() - min(xact_start))::float
    from pg_stat_activity where datname = current_database() and backend_xmin is not null"""
_DEAD: Final = """select relname, n_dead_tup, n_live_tup from pg_stat_user_tables
    where schemaname = %s order by n_dead_tup desc limit 1"""


async def look_over(
    asking: TrioConnection, hearing: TrioConnection, where: str, schema: str
) -> ServerInformation:
    """Ask the server by two connections of which nobody else makes use."""
    settings = {str(name): str(value) for name, value in await _rows(asking, _SETTINGS)}
    remarks = [*_durability(settings), await _pushes(asking, hearing, schema)]
    remarks += await _care(asking, settings, schema)
    size = await _rows(asking, _SIZE, f'"{schema}"')
    version = settings.get("server_version", "").partition(" ")[0]
    return ServerInformation(
        where, f"PostgreSQL {version}".strip(), size[0][0] if size else None, tuple(remarks)
    )


async def _rows(connection: TrioConnection, query: str, *values: object) -> list[tuple[Any, ...]]:
    """Nothing if it may not be asked."""
    try:
        cursor = await connection.execute(query.encode(), values, prepare=False)
        return await cursor.fetchall()
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedObject):
        return []


def _durability(settings: dict[str, str]) -> Iterator[Remark]:
    if settings.get("fsync") == "off":
        yield Remark(
            "fsync",
            "problem",
            "off: a crash of the server's machine may damage the whole database",
            "set fsync = on, unless this is a test",
        )
        return  # whatever the others are
    yield Remark("fsync", "ok", "on")
    committed = settings.get("synchronous_commit", "on")
    standby = settings.get("synchronous_standby_names", "")
    if committed == "off":
        yield Remark(
            "commit",
            "warning",
            "synchronous_commit off: a crash of the server loses what was accepted in the last moments",
            "alter role ... set synchronous_commit = on, for the user of the queue",
        )
    elif standby and committed != "local":
        yield Remark(
            "commit",
            "ok",
            f"synchronous_commit {committed}, with {standby}: what was accepted survives the machine",
        )
    else:
        yield Remark(
            "commit",
            "ok",
            f"synchronous_commit {committed}: what was accepted survives a power cut",
        )


async def _pushes(asking: TrioConnection, hearing: TrioConnection, schema: str) -> Remark:
    """Whether notifications come through, and how long they take."""
    channel = f"{schema}:{uuid.uuid4().hex}"
    heard = False
    await hearing.execute(f'listen "{channel}"'.encode())
    began = trio.current_time()
    await asking.execute("select pg_notify(%s, '')", (channel,), prepare=False)
    with trio.move_on_after(ECHO):
        while not heard:
            heard = any(each.channel == channel for each in await hearing.next_notifies())
    if heard:
        return Remark(
            "pushes", "ok", f"come through in {1000 * (trio.current_time() - began):.1f} ms"
        )
    return Remark(
        "pushes",
        "warning",
        "notifications do not come through: what other processes do is seen by looking only",
        "connect past the pooler, or by a pool of its in session mode (pgbouncer: pool_mode=session)",
    )


async def _care(asking: TrioConnection, settings: dict[str, str], schema: str) -> list[Remark]:
    remarks = []
    most = int(settings.get("max_connections", 0))
    for used, _ in await _rows(asking, _CONNECTIONS):
        says = f"{used} of {most} are in use; each process of actorq has two"
        if used > MANY * most:
            advice = "raise max_connections, or run fewer processes"
            remarks.append(Remark("connections", "warning", says, advice))
        else:
            remarks.append(Remark("connections", "ok", says))
    if settings.get("autovacuum") == "off":
        remarks.append(
            Remark(
                "autovacuum",
                "problem",
                "off: the queue's tables grow without end, and become slow",
                "set autovacuum = on",
            )
        )
    else:
        remarks.append(Remark("autovacuum", "ok", "on"))
    for (seconds,) in await _rows(asking, _LONGEST):
        if seconds is not None and seconds > LONG:
            remarks.append(
                Remark(
                    "transactions",
                    "warning",
                    f"one is open for {seconds / 3600:.1f} hours: nothing that died since can be "
                    f"cleaned up",
                    "end it (pg_stat_activity shows it), and set idle_in_transaction_session_timeout",
                )
            )
    for name, dead, live in await _rows(asking, _DEAD, schema):
        if dead > max(DEAD, live):
            remarks.append(
                Remark(
                    "dead rows",
                    "warning",
                    f"{dead:,} in {name}, beside {live:,} live ones: vacuum does not keep up",
                    f"vacuum {schema}.{name}; look for long transactions and replication slots that "
                    f"nobody reads",
                )
            )
    return remarks
