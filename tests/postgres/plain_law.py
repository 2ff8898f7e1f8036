"""The law in PostgreSQL, without our side of it: plain requests on a connection."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import attrs
import psycopg


Plain = list[Any]

#: Of every task, and of every result; its place is its length.
BODY = b"body"


@attrs.define(eq=False)
class Law:
    """The functions, called as the storage calls them, in one connection, which keeps its plans."""

    connection: psycopg.Connection[Any]
    schema: str
    peer: str = "p"
    number: int = 0
    session: int = 0
    looked: dict[str, int] = attrs.field(factory=dict)  #: at so many rows, by what was asked

    def ask(self, *acts: Plain, writes: bool = True) -> list[Any]:
        """The answers."""
        self.number += writes
        asked = {
            "acts": acts,
            "law": 1,
            "peer": self.peer,
            "lane": "broker",
            "number": self.number if writes else 0,
            "lease": 30.0,
            "view": True,
            "seen": 0,
            "room": 10,
            "ttl": 60.0,
            "early": True,
        }
        query = f'select reply::text from "{self.schema}".perform(%s::jsonb, %s::bytea)'
        with self.connection.transaction():
            before = self._rows()
            row = self.connection.execute(
                query.encode(), (json.dumps(asked), BODY), prepare=True
            ).fetchone()
            assert row is not None
            what = acts[0][0] if acts else "look"
            self.looked[what] = max(self.looked.get(what, 0), self._rows() - before)
        return json.loads(row[0])["answers"]  # type: ignore[no-any-return]

    def _rows(self) -> int:
        """Of all tables, and places in all indexes, that this transaction has looked at."""
        query = """select sum(pg_stat_get_xact_tuples_returned(c.oid)
                + pg_stat_get_xact_tuples_fetched(c.oid))
            from pg_class c where c.relnamespace = %s::regnamespace"""
        row = self.connection.execute(query, (self.schema,)).fetchone()
        assert row is not None
        return int(row[0] or 0)


def on_its_way(task_id: str, **more: Any) -> Plain:
    """A task on its way."""
    known = {"queue": "default", "priority": 0, "eta": None, "expires": None, "bounds": None}
    known |= more
    return [
        *(task_id, len(BODY), None, more.get("name", "name"), known["queue"], known["priority"]),
        *(known["eta"], known["expires"], 5, known["bounds"], None),
    ]


def word(job: Plain, ending: str, *, then: Sequence[Plain] = (), result: bool = False) -> Plain:
    """What a worker says of a job."""
    task_id, attempt, token = job[:3]
    kept = [task_id, attempt, None, len(BODY), False] if result else None
    return [task_id, attempt, token, ending, 0.0, "", None, list(then), False, kept]
