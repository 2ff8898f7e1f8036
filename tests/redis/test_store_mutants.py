"""Each broken law of results and schedules is caught by their contracts."""

from __future__ import annotations

from pathlib import Path

import pytest

from actorq.engines.redis import law as texts
from actorq.engines.redis.results import RedisResultBackend
from actorq.engines.redis.schedules import RedisScheduleSource
from actorq.engines.redis.storage import RedisStorage
from actorq.testing.contracts.contract import Contract
from actorq.testing.contracts.results import ResultBackendContract
from actorq.testing.contracts.schedules import ScheduleSourceContract
from remote.mutants import Mutant, check_caught

from .here import storage_of
from .test_mutants import _close_what_was_broken_off, with_law


pytestmark = [pytest.mark.engine, pytest.mark.slow]
_ = _close_what_was_broken_off  # a fixture: it is used by all tests here

RESULTS = [
    Mutant(
        34,
        "an earlier attempt's result takes the later one's place",
        "results",
        "keep = attempt < stored or (attempt == stored and result[5])",
        "keep = false",
    ),
    Mutant(34, "who is too late is not told", "results", "verdicts[n] = 'stored'", ""),
    Mutant(
        34,
        "progress of an attempt that is over is stored",
        "results",
        "(ended and attempt <= head(ended)) or (reported and attempt < head(reported))",
        "false",
    ),
    Mutant(
        28,
        "what was deleted stays",
        "results",
        "  in_pieces('HDEL', key('results'), ids)\n",
        "",
    ),
    Mutant(28, "bytes are cut off", "results", "return string.sub(row, HEAD + 1)", "return 'null'"),
    Mutant(
        43,
        "nobody is told why there is none",
        "results",
        "    touch('results', task_id)\n  end\n  in_pieces('HSET', key('gone'), notes)",
        "  end",
    ),
]

SCHEDULES = [
    Mutant(40, "any version will do", "schedules", "if there ~= version then", "if false then"),
    Mutant(40, "what is to go stays", "schedules", "redis.call('HDEL', key('schedules'), id)", ""),
    Mutant(40, "nobody hears of a change", "schedules", "if announce then", "if false then"),
]


def results_in(folder: Path) -> RedisResultBackend:
    """In the namespace that stands for the folder."""
    return RedisResultBackend(storage_of(folder))


def schedules_in(folder: Path) -> RedisScheduleSource:
    """In the namespace that stands for the folder."""
    return RedisScheduleSource(storage_of(folder))


class QuickResults(ResultBackendContract):
    """As little as shows it."""

    max_examples = 10
    limit = 10.0


class QuickSchedules(ScheduleSourceContract):
    """As little as shows it."""

    max_examples = 10
    limit = 10.0


@pytest.mark.parametrize("mutant", [*RESULTS, *SCHEDULES], ids=lambda mutant: mutant.breaks)
def test_every_mutant_is_caught(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a test that the law as it is passes."""
    text = (Path(texts.__file__).parent / f"{mutant.file}.lua").read_text(encoding="utf-8")
    assert text.count(mutant.before) == 1, "the law has changed here: the mutant is to be renewed"
    right = texts.law()
    name = f"{right.careful}_mutant_{mutant.file}_{text.index(mutant.before)}"
    broken = right.library.replace(mutant.before, mutant.after).replace(right.careful, name)
    law = texts.Law(broken, name, f"{name}_anyway", "", "")
    contract: type[Contract] = QuickResults if mutant in RESULTS else QuickSchedules
    factory = results_in if mutant in RESULTS else schedules_in
    monkeypatch.setattr(RedisStorage, "__init__", with_law(law))
    check_caught(mutant, contract, factory, monkeypatch)
