"""What the doctor finds, and that each finding says what to change."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import attrs
import pytest

from actorq.cli import exits
from cli.project import PROJECT, Shop


pytestmark = pytest.mark.engine

SOUND = PROJECT.replace(', synchronous="off"', "")


@attrs.define
class Examined:
    """One examination."""

    code: int
    findings: dict[str, dict[str, Any]]

    def level(self, check: str) -> str:
        """Of one finding; it has advice unless all is well."""
        finding = self.findings[check]
        assert bool(finding["advice"]) is (finding["level"] != "ok"), finding
        return str(finding["level"])


def examined(shop: Shop, *arguments: str, code: int = exits.OK) -> Examined:
    """Run it."""
    document = shop("doctor", "--json", *arguments, code=code).json
    assert document["healthy"] is (code == exits.OK)
    return Examined(code, {each["check"]: each for each in document["findings"]})


@pytest.fixture
def sound(shop: Shop) -> Shop:
    """With nothing to complain of."""
    (shop.folder / "shop_of_a_test.py").write_text(SOUND)
    return shop


def test_all_is_well(sound: Shop) -> None:
    """And said in a word."""
    found = examined(sound)
    assert {each["level"] for each in found.findings.values()} <= {"ok"} or (
        found.findings["disk space"]["level"] != "ok"
    )
    assert "SQLite" in found.findings["versions"]["says"]
    assert found.findings["file"]["says"] == str((sound.folder / "shop.db").resolve())
    assert found.findings["processes"]["says"] == "this one has the file open, and no other process"
    assert sound("doctor").out.splitlines()[-1] in ("all is well", "1 warning")


def test_no_broker_and_a_broken_one(sound: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest cannot be looked at then."""
    monkeypatch.delenv("ACTORQ_BROKER")
    assert examined(sound, code=exits.FAILED).level("broker") == "problem"
    (sound.folder / "broken_of_a_test.py").write_text("1 / 0\n")
    found = examined(sound, "-b", "broken_of_a_test:broker", code=exits.FAILED)
    assert "ZeroDivisionError" in found.findings["broker"]["says"]


def test_a_queue_in_memory(sound: Shop) -> None:
    """Nobody else can see it."""
    (sound.folder / "memory_of_a_doctor.py").write_text(
        "import actorq\nb = actorq.InMemoryBroker()\n"
    )
    assert examined(sound, "-b", "memory_of_a_doctor:b", code=1).level("engine") == "problem"


def test_a_file_that_cannot_be_opened(sound: Shop) -> None:
    """Said with the engine's reason."""
    (sound.folder / "shop.db").write_bytes(b"no database " * 1000)
    found = examined(sound, code=exits.FAILED)
    assert found.level("engine") == "problem"
    assert "shop.db" in found.findings["engine"]["says"]


def test_what_waits_in_vain(sound: Shop) -> None:
    """Without workers, in a paused queue, in one that nobody serves; tasks that nobody knows."""
    sound.enqueue("shop_of_a_test:add", "--arg", "1", "--queue", "q")
    sound("queue", "pause", "held")
    found = examined(sound)
    assert found.level("workers") == "warning"
    assert found.level("queue held") == "warning"
    sound.enqueue("__main__:knows", "--by-name")
    sound.enqueue("shop_of_a_test:fails", "--arg", "no", "--id", "dies")
    with sound.worker("--queues", "default"):
        sound("result", "dies", "--wait", "30", code=exits.FAILED)
        while sound("status", "--json").json["tasks"]["parked"] == 0:
            pass
        found = examined(sound)
    assert found.level("workers") == "ok"
    assert found.level("queue q") == "warning"
    assert "__main__:knows" in found.findings["parked tasks"]["says"]
    assert "module that both import" in found.findings["parked tasks"]["advice"]
    assert found.level("parked tasks") == "warning"
    assert found.level("dead letters") == "warning"


def test_a_schedule_that_nobody_serves(sound: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Overdue by more than a moment."""
    sound("schedule", "add", "shop_of_a_test:add", "--every", "1", "--arg", "1")
    assert examined(sound).level("schedules") == "ok"
    monkeypatch.setattr("actorq.cli.examining.LATE", -1000.0)
    assert examined(sound).level("schedules") == "warning"


@pytest.mark.parametrize(
    ("check", "name", "value", "level"),
    [
        (
            "file system",
            "actorq.engines.sqlite.maintenance.file_system",
            lambda _: "nfs4",
            "problem",
        ),
        ("disk space", "actorq.cli.examining.NOTHING", 1e18, "problem"),
        ("disk space", "actorq.cli.examining.LITTLE", 1e18, "warning"),
        ("write-ahead log", "actorq.cli.examining.LONG_WAL", -1, "warning"),
        ("versions", "actorq.cli.examining.OLDEST_SQLITE", (99, 0), "problem"),
        ("wake-ups", "actorq.engines.sqlite.peers.has_sockets", lambda: False, "warning"),
    ],
)
def test_where_it_lies(
    sound: Shop, monkeypatch: pytest.MonkeyPatch, check: str, name: str, value: Any, level: str
) -> None:
    """The disk, its file system, the log, the versions."""
    monkeypatch.setattr(name, value)
    code = exits.FAILED if level == "problem" else exits.OK
    assert examined(sound, code=code).level(check) == level


def test_a_file_that_is_not_whole(sound: Shop) -> None:
    """Read from end to end if that is asked for."""
    assert examined(sound, "--integrity").level("integrity") == "ok"
    with closing(sqlite3.connect("shop.db")) as connection, connection:
        connection.execute("insert into actorq_counts values ('q', 'ready', 3)")
        connection.execute(
            "insert into actorq_tasks (task_id, name, queue, priority, state, number, deliveries, "
            "session, message) values ('a', 'b', 'default', 0, 'leased', 1, 1, 1, x'')"
        )
    found = examined(sound, "--integrity", code=exits.FAILED)
    assert found.level("integrity") == "problem"
    assert "session" in found.findings["integrity"]["says"]


def test_synchronous_off(shop: Shop) -> None:
    """May cost the file."""
    assert examined(shop, code=exits.FAILED).level("synchronous") == "problem"
