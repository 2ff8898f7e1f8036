"""The schema in the database: its tables, by version, and the functions of the law.

Tables are made and changed in one transaction, by one program at a time.  The functions are of a
version too; another text of the same version replaces them, and those that it does not have are dropped:
one that took other arguments would stand beside its successor, and a call could mean either.

Each function of the law is marked by a comment.  What is in the schema and has none is somebody else's,
and stays.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import errors

from actorq._version import __version__
from actorq.engines.postgres.troubles import explained
from actorq.errors import EngineUnavailable


if TYPE_CHECKING:
    from actorq.engines.postgres.trio_connection import TrioConnection

#: Of the tables and the law; entry.sql says it too.  What each adds to the one before: TABLES.
VERSION: Final = 1
#: The files that bring the tables from each version to the next, the first from nothing.
TABLES: Final = (("tables_calls.sql", "tables_results.sql", "tables_schedules.sql", "tables.sql"),)
#: The longest name of a schema: channels are named after it, and names have 63 bytes.
LONGEST: Final = 48
#: With the schema's name: who changes it.
LOCK: Final = 1633907571
#: How the comment on each function of the law begins; the law's id follows.
MARK: Final = "of actorq, law "


def check_name(schema: str) -> str:
    """The name of a schema; raises if it cannot be one."""
    if not isinstance(schema, str) or not re.fullmatch(
        rf"[a-z_][a-z0-9_]{{0,{LONGEST - 1}}}", schema
    ):
        raise ValueError(
            f"schema expects a name of small letters, digits and _, of at most {LONGEST}, such as "
            f"'actorq'; got {schema!r}"
        )
    return schema


def written_for(schema: str, text: str) -> str:
    """A piece of SQL, which is written for a schema `actorq`, for another."""
    return text.replace("'actorq:", f"'{schema}:").replace("actorq.", f'"{schema}".')


@cache
def _text(name: str) -> str:
    return (resources.files("actorq.engines.postgres") / "law" / name).read_text("utf-8")


@cache
def _functions() -> tuple[str, ...]:
    law = resources.files("actorq.engines.postgres") / "law"
    queue = sorted(each.name for each in law.iterdir() if each.name.startswith("queue_"))
    return (*queue, "results.sql", "schedules.sql", "presence.sql", "entry.sql")


@cache
def law_of(schema: str) -> str:
    """All functions."""
    return "\n".join(written_for(schema, _text(name)) for name in _functions())


@cache
def law_id() -> str:
    """What tells one text of the law from another."""
    return hashlib.sha256(law_of("actorq").encode()).hexdigest()[:16]


def tables_after(schema: str, version: int) -> str:
    """What brings the tables from *version* to ours."""
    files = [name for step in TABLES[version:] for name in step]
    return "\n".join(written_for(schema, _text(name)) for name in files)


def replacing(schema: str) -> str:
    """What puts our law in the place of any other, in one statement.

    What `create or replace` has written anew is ours: a row of the catalog has another place (ctid)
    then.  What is marked and was not written is left of a former law.
    """
    law = law_of(schema)
    assert "$law$" not in law
    return f"""do $do$
declare
    law text := $law$
{law}
$law$;
    before text[];
    each regprocedure;
begin
    before := array(
        select p.oid || ' ' || p.ctid from pg_proc p where p.pronamespace = '"{schema}"'::regnamespace);
    begin
        execute law;
    exception when invalid_function_definition then  -- one of them has another form than before
        for each in
            select p.oid from pg_proc p where p.pronamespace = '"{schema}"'::regnamespace
                and starts_with(obj_description(p.oid, 'pg_proc'), '{MARK}')
        loop
            execute format('drop function %s', each);
        end loop;
        execute law;
    end;
    for each in
        select p.oid from pg_proc p where p.pronamespace = '"{schema}"'::regnamespace
            and p.oid || ' ' || p.ctid = any(before)
            and starts_with(obj_description(p.oid, 'pg_proc'), '{MARK}')
    loop
        execute format('drop function %s', each);
    end loop;
    for each in
        select p.oid from pg_proc p where p.pronamespace = '"{schema}"'::regnamespace
            and p.oid || ' ' || p.ctid <> all(before)
    loop
        execute format('comment on function %s is %L', each, '{MARK}{law_id()}');
    end loop;
end
$do$;"""


def noting(schema: str) -> str:
    """What notes that the schema is as this program makes it."""
    return "\n".join(
        f'insert into "{schema}".meta values ({key!r}, {value!r}) '
        f"on conflict (key) do update set value = excluded.value;"
        for key, value in (("schema", f"{VERSION}"), ("law", law_id()), ("program", __version__))
    )


def script(schema: str) -> str:
    """All that is done, in a new schema or an older one: for an administrator who does it by hand."""
    check_name(schema)
    steps = "\n".join(
        f"    if version < {version} then execute $tables$\n{tables}\n$tables$; end if;"
        for version, tables in enumerate(
            ("\n".join(written_for(schema, _text(name)) for name in step) for step in TABLES), 1
        )
    )
    return "\n".join(
        [
            "begin;",
            f"select pg_advisory_xact_lock({LOCK}, hashtext('{schema}'));",
            f'create schema if not exists "{schema}";',
            f"""do $do$
declare
    version int := 0;
begin
    if to_regclass('"{schema}".meta') is not null then
        version := coalesce((select value::int from "{schema}".meta where key = 'schema'), 0);
    end if;
    if version > {VERSION} then
        raise exception 'schema {schema} is of version %, and actorq {__version__} knows them up to '
            'version {VERSION}: a newer actorq uses it; nothing was changed', version;
    end if;
{steps}
end
$do$;""",
            *(replacing(schema), noting(schema)),
            "commit;",
            "",
        ]
    )


async def prepare(connection: TrioConnection, schema: str) -> None:
    """See to it that the schema is there as this program knows it, in a transaction.

    Raises `EngineUnavailable` with what to do if it cannot, and nothing was changed.
    """
    if await _found(connection, schema) == (VERSION, law_id()):
        return
    try:
        async with connection.transaction():
            await connection.execute(
                "select pg_advisory_xact_lock(%s, hashtext(%s))", (LOCK, schema)
            )
            version, law = await _found(connection, schema)  # another may have done it meanwhile
            if (version, law) == (VERSION, law_id()):
                return
            if not version:
                await _create_schema(connection, schema)
            if version < VERSION:
                await _run(connection, tables_after(schema, version))
            await _run(connection, replacing(schema))
            await _run(connection, noting(schema))
    except errors.InsufficientPrivilege as error:
        raise _forbidden(connection, schema, error) from error
    except (errors.DuplicateTable, errors.DuplicateObject) as error:
        raise EngineUnavailable(
            f"schema {schema!r} has tables of that name which are not of actorq: "
            f"{explained(error)}; nothing was changed. Give actorq a schema of its own: "
            f"PostgresBroker(..., schema='another_name')"
        ) from error


async def _run(connection: TrioConnection, statements: str) -> None:
    await connection.execute(statements.encode())


async def _found(connection: TrioConnection, schema: str) -> tuple[int, str]:
    """The version of the tables, and the law; 0: there are none."""
    try:
        there = await (
            await connection.execute("select to_regclass(%s) is not null", (f'"{schema}".meta',))
        ).fetchone()
        if there is None or not there[0]:
            return 0, ""
        rows = await (
            await connection.execute(f'select key, value from "{schema}".meta'.encode())
        ).fetchall()
    except errors.InsufficientPrivilege as error:
        raise _forbidden(connection, schema, error) from error
    noted = dict(rows)
    version = int(noted.get("schema", 0))
    if version > VERSION:
        raise newer(schema, version)
    return version, noted.get("law", "")


def newer(schema: str, version: int | str) -> EngineUnavailable:
    """Why a schema is not touched: a newer program has changed it."""
    return EngineUnavailable(
        f"schema {schema!r} is of version {version}, and actorq {__version__} knows them up to version "
        f"{VERSION}: a newer actorq uses it; nothing was changed. Install that version here too, or "
        f"give this program a schema of its own: PostgresBroker(..., schema='another_name')"
    )


async def _create_schema(connection: TrioConnection, schema: str) -> None:
    cursor = await connection.execute("select from pg_namespace where nspname = %s", (schema,))
    if await cursor.fetchone() is None:
        await _run(connection, f'create schema "{schema}"')


def _forbidden(connection: TrioConnection, schema: str, why: psycopg.Error) -> EngineUnavailable:
    user, database = connection.info.user, connection.info.dbname
    return EngineUnavailable(
        f"the user {user!r} may not make or use what actorq {__version__} needs in database "
        f"{database!r}: {why.diag.message_primary}; nothing was changed. Let an administrator "
        f'do one of these: (1) create schema "{schema}" authorization "{user}"; -- and actorq makes the '
        f"rest; (2) make all of it: python -m actorq.engines.postgres {schema} | psql {database}, then: "
        f'grant usage on schema "{schema}" to "{user}"; '
        f'grant select, insert, update, delete on all tables in schema "{schema}" to "{user}"; '
        f'grant all on all sequences in schema "{schema}" to "{user}"; and again after an upgrade'
    )
