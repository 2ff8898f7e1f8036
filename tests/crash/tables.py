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
    (
        "a limit whose permits are counted wrongly",  # 41
        """select key from (
             select json_extract(permit.value, '$[0]') as key, count(distinct task.id) as n
               from actorq_tasks task, json_each(task.terms, '$[1]') permit
               where task.state = 'leased' group by 1
             union all select key, -running from actorq_permits
           ) group by key having sum(n) <> 0""",
    ),
    (
        "held at no gate, or at one and not held",
        """select task_id from actorq_tasks
           where (gate is not null) <> coalesce(held in ('limited', 'paced'), 0)""",
    ),
    (
        "forgotten at a limit that has room",  # if all calls with its key bring the same limit
        """select task.task_id from actorq_tasks task, json_each(task.terms, '$[1]') permit
           where task.held = 'limited'
             and task.gate = 'permit ' || json_extract(permit.value, '$[0]')
           group by task.id having min(json_extract(permit.value, '$[1]'))
             > coalesce(
                 (select running from actorq_permits where 'permit ' || key = task.gate), 0)
               + (select count(*) from actorq_tasks other
                  where other.offer = task.gate and other.queue = task.queue)""",
    ),
    (
        "forgotten at a rate, with no alarm set",
        """select task_id from actorq_tasks task where held = 'paced'
             and not exists (select 1 from actorq_tasks where offer = task.gate)
             and not exists (select 1 from actorq_paces
                             where 'pace ' || key = task.gate and alarm is not null)""",
    ),
    (
        "a unique key of a task that has ended",  # 39
        """select key from actorq_keys where until is null
           and task_id not in (select task_id from actorq_tasks)""",
    ),
)

_MADE: Final = "select 1 from sqlite_master where name = 'actorq_tasks'"
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
        if not accepted and not connection.execute(_MADE).fetchone():
            return []  # nobody has opened it yet
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
