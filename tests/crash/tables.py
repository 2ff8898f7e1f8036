"""The file itself, as anybody may read it: what must hold of its tables at every moment.

Read with a connection of its own, in one transaction, whatever the others do meanwhile.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from pathlib import Path
from typing import Final


#: Rows that must not be, and what they would mean.
NEVER: Final = (
    (
        "leased to nobody",
        """select task_id from actorq_tasks where state = 'leased' and
           (token is null or session is null or session not in (select id from actorq_sessions))""",
    ),
    (
        "with a session, and not leased",
        "select task_id from actorq_tasks where state <> 'leased' and session is not null",
    ),
    (
        "held, and not ready",
        "select task_id from actorq_tasks where held is not null and state <> 'ready'",
    ),
    (
        "scheduled for no time",
        "select task_id from actorq_tasks where state = 'scheduled' and due is null",
    ),
    (
        "in no known state",
        "select task_id from actorq_tasks where state not in ('scheduled', 'ready', 'leased')",
    ),
    (
        "leased twice",
        "select token from actorq_tasks where token is not null group by token having count(*) > 1",
    ),
    (
        "queued and ended",
        "select task_id from actorq_tasks intersect select task_id from actorq_ended",
    ),
    (
        "queued and dead",
        "select task_id from actorq_tasks intersect select task_id from actorq_dead",
    ),
    (
        "counted wrongly",
        """select queue || '/' || place from (
             select queue, coalesce(held, state) as place, count(*) as n
               from actorq_tasks group by 1, 2
             union all select queue, place, -n from actorq_counts
           ) group by queue, place having sum(n) <> 0""",
    ),
)

_PLACES: Final = """
    select (select count(*) from actorq_tasks where task_id = :id)
         + (select count(*) from actorq_ended where task_id = :id)
         + (select count(*) from actorq_dead where task_id = :id
              and task_id not in (select task_id from actorq_ended))
         + (select count(*) from actorq_steps where task_id = :id)"""


def look(file: Path, accepted: Collection[str]) -> list[str]:
    """What is wrong at this moment; each of *accepted* must be in exactly one place (30)."""
    connection = sqlite3.connect(file, isolation_level=None)
    try:
        connection.execute("begin")
        wrong = [
            f"{row[0]} is {what}" for what, query in NEVER for row in connection.execute(query)
        ]
        for task_id in accepted:
            ((places,),) = connection.execute(_PLACES, {"id": task_id})
            if places != 1:
                wrong.append(f"{task_id} is in {places} places")
        return wrong
    finally:
        connection.close()


def look_at_the_end(file: Path, accepted: Collection[str]) -> list[str]:
    """The same when all have results and nobody has the file open: none of them is queued."""
    connection = sqlite3.connect(file)
    try:
        wrong = [row[0] for row in connection.execute("pragma integrity_check") if row[0] != "ok"]
        live = {row[0] for row in connection.execute("select task_id from actorq_tasks")}
        wrong += [f"{task_id} has a result, and is still queued" for task_id in live & {*accepted}]
    finally:
        connection.close()
    return wrong + look(file, accepted)
