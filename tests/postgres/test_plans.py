"""No act looks at more rows than it is about, whatever was known of the tables when it was planned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from actorq.engines.postgres import migrations
from actorq.engines.postgres.storage import SETTINGS
from servers.postgres import PostgresServer

from .plain_law import Law, Plain, on_its_way, word


pytestmark = pytest.mark.engine

#: Tasks that wait, so that a look at all of them cannot be overlooked.
BACKLOG = 4_000
#: Rows and places in indexes that one call may look at: it is about ten tasks at most.
FEW = 1_000


def everything(law: Law, prefix: str, queue: str) -> None:
    """Each act at least once."""

    def name(what: str) -> str:
        return f"{prefix}.{what}"

    def sent(task: str, **more: Any) -> Plain:
        return on_its_way(name(task), queue=queue, **more)

    (law.session,) = law.ask(["open", name("worker"), [[queue], None], 1, "host"])
    session = law.session
    plain = [sent(f"t{n}", priority=9) for n in range(10)]
    law.ask(["store", plain, False])
    law.ask(["store", plain[:2], False])  # again
    (claimed,) = law.ask(["claim", session, 10, []])
    jobs = claimed["claimed"]
    assert [each[0] for each in jobs] == [each[0] for each in plain]
    law.ask(["settle", session, [word(each, "done", result=True) for each in jobs[:5]]])
    law.ask(["settle", session, [word(jobs[5], "retry"), word(jobs[6], "give_back")]])
    law.ask(["settle", session, [word(jobs[7], "dead"), word(jobs[8], "park")]])
    law.ask(["revoke", name("t9")])
    law.ask(["renew", session])
    law.ask(["claim", session, 2, ["name"]])
    key = [["k", "replace", "finish", None], [], [], []]
    law.ask(["store", [sent("u1", bounds=key), sent("u2", bounds=key)], False])
    bounds = [None, [["p", 1]], [["q", 1, 60.0, False]], []]
    limited = [sent(f"l{n}", priority=8, bounds=bounds) for n in range(4)]
    law.ask(["store", limited, False])
    law.ask(["claim", session, 3, []])
    chain = [None, [], [], [name("s.1")]]
    law.ask(["store", [sent("s", priority=10, bounds=chain)], False])
    (claimed,) = law.ask(["claim", session, 1, []])
    law.ask(["settle", session, [word(claimed["claimed"][0], "done", then=[sent("s.1")])]])
    law.ask(["store", [sent("x", priority=10, expires=1.0)], False])
    law.ask(["store", [sent("later", eta=9e9)], False])
    law.ask(["promote"])
    law.ask(["replay", [[name("t7"), sent("t7.again")]], False])
    law.ask(["purge_dead", [name("nobody's")]])
    law.ask(["pause", "other", True])
    law.ask(["pause", "other", False])
    law.ask(["release", "nobody's"])
    law.ask(["lapse", 0.0])
    law.ask(["published", [1, 2, 3]])
    for look in ("locate", "is_ending", "ending"):
        law.ask([look, name("t1")], writes=False)
    law.ask(["ended", [name("t1"), name("t2")]], writes=False)
    law.ask(["workers"], writes=False)
    law.ask(writes=False)
    law.ask(["open", name("worker"), [[queue], None], 1, "host"])  # the former one ends


@pytest.fixture
def law(server: PostgresServer, namespace: str) -> Iterator[Law]:
    """In a schema of its own, that is never analyzed."""
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        for setting, value in SETTINGS.items():
            connection.execute("select set_config(%s, %s, false)", (setting, value))
        connection.execute(migrations.script(namespace).encode())
        for table in ("tasks", "ended", "calls"):
            off = f'alter table "{namespace}".{table} set (autovacuum_enabled = off)'
            connection.execute(off.encode())
        yield Law(connection, namespace)


def fill(law: Law) -> None:
    """Many in each place, by hand."""
    query = f"""insert into "{law.schema}".tasks
        (task_id, id, number, place, queue, priority, name, due, expires, deliveries, session, token,
         gate, bounds)
        select place || n, n, n, place::"{law.schema}".place, 'default', 0, 'crowd',
            case when place = 'scheduled' then 9e9 end, case when n %% 2 = 0 then 9e9 end, 5,
            case when place = 'leased' then 17 end, case when place = 'leased' then n + 1000000 end,
            case when place = 'limited' then 'permit p' when place = 'paced' then 'pace q' end,
            case when place in ('limited', 'paced')
                then '[null, [["p", 1]], [["q", 1, 60.0, false]], []]'::jsonb end
        from generate_series(1, %s) n,
            unnest(array['scheduled', 'ready', 'parked', 'limited', 'paced', 'leased']) place"""
    law.connection.execute(query.encode(), (BACKLOG,))
    ended = f"""insert into "{law.schema}".ended (task_id, ending)
        select 'ended' || n, 'done' from generate_series(1, %s) n"""
    law.connection.execute(ended.encode(), (BACKLOG,))


@pytest.mark.parametrize("planned", ["empty", "full"])
def test_no_act_looks_at_all_tasks(law: Law, planned: str) -> None:
    """Planned when there was nothing there, or all at once, and without any statistics."""
    if planned == "empty":
        for n in range(7):  # as often as makes a plan that is kept
            everything(law, f"before{n}", f"queue{n}")
    law.looked.clear()
    fill(law)
    everything(law, "after", "default")
    too_many = {what: n for what, n in law.looked.items() if n > FEW}
    assert not too_many, f"rows that were looked at: {law.looked}"


def test_the_measure_sees_who_looks_at_all(law: Law) -> None:
    """Or the test above could not fail."""
    fill(law)
    law.ask(["statistics"], writes=False)
    assert law.looked["statistics"] > BACKLOG
