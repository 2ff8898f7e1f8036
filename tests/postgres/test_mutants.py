"""Each broken law is caught by the contract, by the promise that it breaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from actorq.engines.postgres import migrations
from actorq.engines.postgres.broker import PostgresBroker
from remote.mutants import Mutant, Quick, check_caught

from .here import storage_in


pytestmark = [pytest.mark.engine, pytest.mark.slow]


MUTANTS = [
    Mutant(
        34,
        "a stale fence settles",
        "queue_settling",
        """on t.task_id = x.task_id and t.token = x.token and t.session = x.session
        order by""",
        """on t.task_id = x.task_id and t.place = 'leased'
        order by""",
    ),
    Mutant(
        29,
        "a worker that opens a session anew keeps the old one",
        "queue_sessions",
        "        perform actorq.end_session(m, older);\n",
        "        null;\n",
    ),
    Mutant(
        29,
        "a session whose lease ran out goes on",
        "queue_sessions",
        "where case when s.until <= m.now\n",
        "where case when s.until <= m.now - 1e6\n",
    ),
    Mutant(
        36,
        "a task that was cancelled while it ran is tried again",
        "queue_settling",
        """    if e.cancelled then
        perform actorq.end_unreported(m, e, 'cancelled', '["cancelled", []]');
        return;
    end if;
""",
        "",
    ),
    Mutant(
        33,
        "a retry does not wait",
        "queue_settling",
        "if delay > 0 and not coalesce(e.expires <= m.now, false) then",
        "if false then",
    ),
    Mutant(
        33,
        "an attempt that was given back counts",
        "queue_settling",
        "e.attempt := e.attempt - 1; -- it does not count",
        "",
    ),
    Mutant(
        35,
        "a worker whose loop stood still is not forgiven",
        "queue_sessions",
        "set until = until + late where peer = m.peer;",
        "set until = until where peer = m.peer;",
    ),
    Mutant(
        42,
        "what nobody knows here is not parked",
        "queue_settling",
        "perform actorq.make_ready(m, e, ending = 'park');",
        "perform actorq.make_ready(m, e, false);",
    ),
    Mutant(
        43,
        "a result is not stored with the end of its task",
        "queue_settling",
        "perform actorq.store_result_rows(m, ids, attempts, ttls, losts, bodies, given);",
        "null;",
    ),
]


def made(folder: Path) -> PostgresBroker:
    """In the schema that stands for the folder."""
    return PostgresBroker(storage=storage_in(folder))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.breaks)
def test_every_mutant_of_the_law_is_caught(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    """A contract that lets one pass would let a slip in the SQL pass."""
    read = migrations._text
    name = f"{mutant.file}.sql"
    assert read(name).count(mutant.before) == 1, "the law has changed here: renew the mutant"

    def mutated(each: str) -> str:
        text = read(each)
        return text.replace(mutant.before, mutant.after) if each == name else text

    monkeypatch.setattr(migrations, "_text", mutated)
    monkeypatch.setattr(migrations, "law_of", migrations.law_of.__wrapped__)
    monkeypatch.setattr(migrations, "law_id", lambda: f"mutant {MUTANTS.index(mutant)}")
    check_caught(mutant, Quick, made, monkeypatch)
