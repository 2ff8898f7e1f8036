"""Each broken law is caught by the contract, by the promise that it breaks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actorq.engines.redis import law as texts
from actorq.engines.redis.broker import RedisBroker
from actorq.engines.redis.storage import RedisStorage
from remote.mutants import Mutant, Quick, check_caught

from .here import storage_of


pytestmark = [pytest.mark.engine, pytest.mark.slow]


MUTANTS = [
    Mutant(
        34,
        "a stale fence settles",
        "queue_settling",
        "if string.sub(state, 1, #fence) == fence then",
        "fence = string.match(state, '^L%d+ %d+ ') if fence then",
    ),
    Mutant(
        29,
        "the jobs of a session that ended stay with it",
        "queue_sessions",
        "  for _, entry in ipairs(law.leased_to(session)) do\n    take_away(entry)\n  end\n",
        "",
    ),
    Mutant(
        29,
        "a worker that opens a session anew keeps the old one",
        "queue_sessions",
        "  if older then\n    end_session(older)\n  end\n",
        "",
    ),
    Mutant(
        31,
        "an id that is known is stored again",
        "queue_accepting",
        "if not known[each[TASK_ID]] then\n        known[each[TASK_ID]] = true",
        "if true then",
    ),
    Mutant(
        36,
        "who cancels a running task is not heard",
        "queue_requests",
        "law.ask_to_cancel(entry)",
        "",
    ),
    Mutant(
        36,
        "a task that was cancelled while it ran is tried again",
        "queue_settling",
        "  if entry.cancelled then\n    law.end_cancelled(entry)\n    return\n  end\n  if delay > 0",
        "  if delay > 0",
    ),
    Mutant(
        33,
        "a retry does not wait",
        "queue_settling",
        "if delay > 0 and not law.has_expired(entry) then",
        "if false then",
    ),
    Mutant(
        33,
        "an attempt that was given back counts",
        "queue_settling",
        "entry.attempt = entry.attempt - 1 -- it does not count",
        "",
    ),
    Mutant(
        35,
        "a worker whose loop stood still is not forgiven",
        "queue_sessions",
        "call('ZADD', key('until'), 'XX', 'INCR', late, session)",
        "",
    ),
    Mutant(
        42,
        "what nobody knows here is not parked",
        "queue_settling",
        "law.make_ready(entry, ending == 'park' and 'parked' or nil)",
        "law.make_ready(entry, nil)",
    ),
    Mutant(
        39,
        "a unique key that is taken does not matter",
        "queue_accepting",
        "local refused = refusal(sent, known)",
        "local refused = nil",
    ),
    Mutant(
        37,
        "what comes back goes behind what has never run",
        "queue_claiming",
        "tonumber(back[2 * j]) < tonumber(rows[i])",
        "false",
    ),
    Mutant(
        38,
        "what has expired may start",
        "queue_claiming",
        "  if law.has_expired(entry) then\n    law.expire(entry)\n    return false\n  end\n",
        "",
    ),
    Mutant(
        41,
        "a permit is not given back",
        "queue_gates",
        "    law.one_less(key('permits'), name)\n",
        "",
    ),
    Mutant(
        30,
        "what is put back is not counted",
        "queue",
        "  law.count('ready', entry.queue, 1)\n",
        "",
    ),
]


def made(folder: Path) -> RedisBroker:
    """In the namespace that stands for the folder."""
    return RedisBroker(storage=storage_of(folder))


#: Storages of programs that a mutant has broken off: nobody else closes them.
broken_off: list[RedisStorage] = []


@pytest.fixture(autouse=True)
def _close_what_was_broken_off() -> Iterator[None]:
    """Or its sockets are complained of later."""
    yield
    while broken_off:
        broken_off.pop().die()


def with_law(law: texts.Law) -> object:
    """The making of a storage that brings this law to its server."""
    make = RedisStorage.__init__

    def patched(self: RedisStorage, *args: Any, **options: Any) -> None:
        make(self, *args, **options)
        self._law = law
        broken_off.append(self)

    return patched


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.breaks)
def test_every_mutant_of_the_law_is_caught(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    """A contract that lets one pass would let a slip in the Lua pass."""
    text = (Path(texts.__file__).parent / f"{mutant.file}.lua").read_text(encoding="utf-8")
    assert text.count(mutant.before) == 1, "the law has changed here: the mutant is to be renewed"
    right = texts.law()
    broken = right.library.replace(mutant.before, mutant.after)
    name = f"{right.careful}_mutant_{MUTANTS.index(mutant)}"
    law = texts.Law(broken.replace(right.careful, name), name, f"{name}_anyway", "", "")
    monkeypatch.setattr(RedisStorage, "__init__", with_law(law))
    check_caught(mutant, Quick, made, monkeypatch)
