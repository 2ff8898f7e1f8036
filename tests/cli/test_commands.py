"""What the commands do to a queue, and how they exit."""

from __future__ import annotations

import json
import shutil
import sys
from typing import Any

import pytest

from actorq.cli import exits
from actorq.cli.app import COMMANDS
from cli.project import BROKER, Shop
from cli.running import ROOT


pytestmark = pytest.mark.engine


def test_a_task_from_the_command_line_and_its_result(shop: Shop) -> None:
    """Enqueued before there is a worker; the result is there for any later process."""
    task_id = shop.enqueue(f"{BROKER.split(':')[0]}:add", "--arg", "2", "--kwarg", "b=40")
    pending = shop("result", task_id, "--json", code=exits.NOT_FOUND)
    assert pending.json == {"task_id": task_id, "state": "ready"}
    assert "no result yet" in pending.err
    late = shop("result", task_id, "--wait", "10ms", code=exits.NOT_FOUND)
    assert "after 10ms" in late.err
    with shop.worker():
        assert shop("result", task_id, "--wait", "30").out == "42\n"
    assert shop("result", task_id).out == "42\n"


def test_waiting_is_one_command(shop: Shop) -> None:
    """The exit code is the task's; its traceback is shown."""
    with shop.worker():
        assert shop("enqueue", "shop_of_a_test:add", "--arg", "1", "--wait").out == "2\n"
        failed = shop("enqueue", "shop_of_a_test:fails", "--arg", "[no]", "--wait", code=1)
        assert "raise ValueError(why)" in failed.out
        assert "failed after" in failed.out.splitlines()[-1]
        assert failed.out.endswith("ValueError: [no]\n")  # as it is, though rich has markup


def test_arguments_are_json_and_bare_words_are_text(shop: Shop) -> None:
    """How they were understood is said, and stored."""
    said = ["--arg", "2", "--arg", '"2"', "--arg", "[1, 2]", "--arg", "hello", "--kwarg", "x=true"]
    answer = shop("enqueue", "elsewhere:task", "--by-name", "--queue", "q", *said, "--json").json
    assert answer["args"] == [2, "2", [1, 2], "hello"]
    assert answer["kwargs"] == {"x": True}
    told = shop("enqueue", "elsewhere:task", "--by-name", *said).err
    assert 'elsewhere:task(2, "2", [1, 2], "hello", x=true)' in told


@pytest.mark.parametrize(
    ("said", "code", "text"),
    [
        (["shop_of_a_test:ad"], exits.NOT_FOUND, "shop_of_a_test:add"),  # the nearest one
        (["nowhere:add"], exits.NOT_FOUND, "no module 'nowhere'"),
        (["add"], exits.USAGE, "module:task"),
        ([":add"], exits.USAGE, "module:task"),
        (["shop_of_a_test:fails", "--arg", "1"], exits.USAGE, "--arg '\"2\"'"),
        (["shop_of_a_test:broker"], exits.USAGE, "SQLiteBroker"),
        (["shop_of_a_test:add"], exits.USAGE, "missing 'a'"),
        (["shop_of_a_test:add", "--arg", "two"], exits.USAGE, "expected int"),
        (["shop_of_a_test:add", "--arg", "1", "--kwarg", "b"], exits.USAGE, "name=value"),
        (["shop_of_a_test:add", "--arg", "1", "--delay", "soon"], exits.USAGE, "no duration"),
        (["shop_of_a_test:add", "--arg", "1", "--eta", "soon"], exits.USAGE, "no time"),
    ],
)
def test_what_cannot_be_enqueued(shop: Shop, said: list[str], code: int, text: str) -> None:
    """Refused here, with what was expected; nothing is stored."""
    assert text in shop("enqueue", *said, code=code).err
    assert shop("status", "--json").json["tasks"]["ready"] == 0


def test_later_and_once(shop: Shop) -> None:
    """Delay and eta are stored; the same id twice is one task."""
    shop.enqueue("shop_of_a_test:add", "--arg", "1", "--delay", "1h30m")
    shop.enqueue("shop_of_a_test:add", "--arg", "1", "--eta", "2999-01-01T00:00Z", "--id", "once")
    shop.enqueue("shop_of_a_test:add", "--arg", "1", "--eta", "2999-01-01T00:00Z", "--id", "once")
    assert shop("status", "--json").json["tasks"]["scheduled"] == 2


def test_watching(shop: Shop) -> None:
    """Each progress as soon as it is there, and the result as the last line."""
    task_id = shop.enqueue("shop_of_a_test:steps")
    with shop.worker(), shop.process("watch", task_id, "--json") as watch:
        assert watch.stdout is not None
        assert json.loads(watch.stdout.readline())["current"] == 1
        (shop.folder / "go").touch()  # the task waits for it
        *_, last = map(json.loads, watch.stdout)  # at the very end a progress may be overtaken
        assert last["return_value"] == "done"
        assert watch.wait(30) == exits.OK
        assert '"done"' in shop("watch", task_id).out
    assert "no task" in shop("watch", "nobody", code=exits.NOT_FOUND).err


def test_cancelling(shop: Shop) -> None:
    """What waits, what runs, what has ended, what never was."""
    waits = shop.enqueue("shop_of_a_test:add", "--arg", "1", "--delay", "1h")
    assert shop("cancel", waits, "--json").json[0]["cancelled"]
    assert "cancelled" in shop("result", waits, code=exits.FAILED).out
    with shop.worker():
        runs = shop.enqueue("shop_of_a_test:lasts")
        while shop("status", "--json").json["tasks"]["running"] == 0:
            pass
        assert "cancelled" in shop("cancel", runs).out
        ended = shop("enqueue", "shop_of_a_test:add", "--arg", "1", "--id", "e", "--wait").out
        assert ended == "2\n"
    assert "ended before" in shop("cancel", "e", code=exits.FAILED).out
    assert "not known" in shop("cancel", "nobody", code=exits.NOT_FOUND).out


def test_queues(shop: Shop) -> None:
    """Paused, resumed, purged; purging asks."""
    assert "no queues" in shop("queue", "list").out
    shop.enqueue("shop_of_a_test:add", "--arg", "1", "--queue", "q")
    shop("queue", "resume", "q")
    assert shop("queue", "pause", "q").err == ""
    assert "nothing is in queue 'other'" in shop("queue", "pause", "other").err  # a slip, perhaps
    rows = {row["queue"]: row for row in shop("queue", "list", "--json").json}
    assert rows["q"] == {"queue": "q", "ready": 1, "running": 0, "paused": True, "workers": 0}
    assert "paused" in shop("status").out
    shop("queue", "resume", "q")
    assert not any(
        row["paused"] for row in shop("queue", "list", "--json").json if row["queue"] == "q"
    )
    assert "--yes" in shop("queue", "purge", "q", code=exits.USAGE).err
    assert shop("queue", "purge", "q", "--yes", "--json").json == {"queue": "q", "purged": 1}


def test_a_queue_is_listed_from_its_first_task_on(shop: Shop) -> None:
    """Though nothing waits or runs in it any more: who looks for it finds it."""
    with shop.worker():
        shop("enqueue", "shop_of_a_test:add", "--arg", "1", "--queue", "mail", "--wait")
    later = ["--queue", "later", "--delay", "1h"]
    shop("cancel", shop.enqueue("shop_of_a_test:add", "--arg", "1", *later))
    rows = {row["queue"]: row for row in shop("queue", "list", "--json").json}
    for name in ("mail", "later"):
        assert rows[name] == {
            "queue": name,
            "ready": 0,
            "running": 0,
            "paused": False,
            "workers": 0,
        }
    assert "mail" in shop("queue", "list").out


def test_where_a_job_sits(shop: Shop) -> None:
    """And how far it is: as its worker says when it is asked."""
    shop.enqueue("shop_of_a_test:lasts")
    found: list[Any] = []
    with shop.worker():
        while not (found and found[0]["line"] and found[0]["progress"]):
            workers = shop("top", "--json").json["workers"]
            found = [job for worker in workers for job in worker["jobs"]]
        assert "shop_of_a_test.py:" in shop("top").out
    (job,) = found
    assert job["line"].startswith("lasts (")
    assert job["progress"]["progress"] == 0.5


def test_dead_letters(shop: Shop) -> None:
    """Listed, shown with their traceback, replayed with other arguments, forgotten."""
    with shop.worker():
        for why in ("one", "two", "three"):
            shop("enqueue", "shop_of_a_test:fails", "--arg", why, "--id", why, "--wait", code=1)
    listed = shop("dead", "list", "--json").json
    assert [each["args"] for each in listed] == [["one"], ["two"], ["three"]]
    assert shop("dead", "list", "--task", "other:task").out == "no dead letters\n"
    shown = shop("dead", "show", "one")
    assert "raise ValueError(why)" in shown.out
    assert 'fails("one")' in shown.out
    assert "actorq dead list" in shop("dead", "show", "none", code=exits.NOT_FOUND).err
    (again,) = shop("dead", "replay", "one", "--arg", "four", "--json").json
    assert again["replay_of"] == "one"
    assert shop("result", again["task_id"], "--json", code=exits.NOT_FOUND).json["state"] == "ready"
    shop("dead", "replay", code=exits.USAGE)
    shop("dead", "purge", "two", "--yes")
    assert "--yes" in shop("dead", "purge", "--all", code=exits.USAGE).err
    assert shop("dead", "purge", "--all", "--yes", "--json").json == {"purged": 1}
    shop("dead", "purge", "two", "--yes", code=exits.NOT_FOUND)


def test_schedules(shop: Shop) -> None:
    """Added by rhythm, paused, resumed, fired by hand, removed."""
    task = "shop_of_a_test:add"
    shop("schedule", "add", task, "--every", "1h", "--arg", "1", "--id", "hourly")
    once = ["--at", "2999-01-01T00:00Z", "--arg", "1"]
    at = shop("schedule", "add", task, *once, "--json").json
    assert at["next_time"] == "2999-01-01T00:00:00.000Z"
    listed = shop("schedule", "list", "--json").json
    assert [each["schedule_id"] for each in listed] == ["hourly", at["schedule_id"]]
    assert shop("schedule", "pause", "hourly", "--json").json[0]["paused"]
    assert not shop("schedule", "resume", "hourly", "--json").json[0]["paused"]
    fired = shop("schedule", "run", "hourly", "--json").json["task_id"]
    assert shop("result", fired, "--json", code=exits.NOT_FOUND).json["state"] == "ready"
    shop("schedule", "remove", "hourly", code=exits.USAGE)
    shop("schedule", "remove", "hourly", "--yes")
    assert "schedule list" in shop("schedule", "pause", "hourly", code=exits.NOT_FOUND).err
    shop("schedule", "add", task, "--every", "1h", *once, code=exits.USAGE)
    shop("schedule", "add", task, *once, "--tz", "UTC", code=exits.USAGE)
    assert (
        "Berlin" in shop("schedule", "add", task, "--cron", "@daily", "--tz", "Berlin", code=2).err
    )
    shop("schedule", "add", task, "--every", "0", "--arg", "1", code=exits.USAGE)
    assert (
        "expected int" in shop("schedule", "add", task, "--every", "1h", "--arg", "x", code=2).err
    )


def test_a_backup_while_workers_go_on(shop: Shop) -> None:
    """A moment of the queue, which can be opened as it is; nothing is overwritten unasked."""
    shop.enqueue("shop_of_a_test:add", "--arg", "1", "--id", "kept", "--queue", "q")
    with shop.worker("--queues", "default"):
        made = shop("backup", "copy.db", "--json").json
        assert list(made) == ["target", "bytes", "seconds"]
        assert "--force" in shop("backup", "copy.db", code=exits.USAGE).err
        shop("backup", "copy.db", "--force")
    (shop.folder / "copy_of_a_test.py").write_text(
        "import actorq\nbroker = actorq.SQLiteBroker('copy.db')\n"
    )
    found = shop("result", "kept", "--json", "-b", "copy_of_a_test:broker", code=exits.NOT_FOUND)
    assert found.json["state"] == "ready"
    assert "cannot" in shop("backup", "no/such/folder.db", code=exits.FAILED).err


def test_a_dead_letter_that_is_not_there(shop: Shop) -> None:
    """Why, and the command that lists them, not the Python that does."""
    for command in ("show", "replay"):
        told = shop("dead", command, "nobody", code=exits.NOT_FOUND).err
        assert told.count("was replayed or purged") == 1
        assert "actorq dead list" in told
        assert "sys." not in told


def test_a_backup_that_fails_takes_nothing_away(shop: Shop) -> None:
    """Neither the queue, though --force is said of its own file, nor the older backup."""
    shop.enqueue("shop_of_a_test:add", "--arg", "1", "--id", "kept")
    assert "in use" in shop("backup", "shop.db", "--force", code=exits.FAILED).err
    assert shop("result", "kept", "--json", code=exits.NOT_FOUND).json["state"] == "ready"
    shop("backup", "copy.db")
    older = (shop.folder / "copy.db").read_bytes()
    (shop.folder / "shop.db").write_bytes(b"this is no database, " * 500)
    shop("backup", "copy.db", "--force", code=exits.UNAVAILABLE)
    assert (shop.folder / "copy.db").read_bytes() == older


def test_completion(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands, and the names of tasks and queues; an error in the project is no error here."""
    for shell in ("bash", "zsh", "fish"):
        assert "_ACTORQ_COMPLETE" in shop("completion", shell).out
    monkeypatch.setenv("_ACTORQ_COMPLETE", "bash_complete")

    def completed(*words: str) -> list[str]:
        monkeypatch.setenv("COMP_WORDS", " ".join(["actorq", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        with pytest.raises(SystemExit):
            shop()
        return [line.partition(",")[2] for line in shop._capture.readouterr().out.split()]

    assert completed("stat") == ["status"]
    assert completed("enqueue", "shop_of_a_test:a") == ["shop_of_a_test:add"]
    assert completed("queue", "pause", "sl") == ["slow"]
    monkeypatch.setenv("ACTORQ_BROKER", "nowhere:broker")
    assert completed("enqueue", "shop") == []


@pytest.mark.parametrize(
    "said",
    [
        ["status"],
        ["top"],
        ["enqueue", "memory_of_a_test:task"],
        ["result", "1"],
        ["watch", "1"],
        ["cancel", "1"],
        ["queue", "list"],
        ["dead", "list"],
        ["schedule", "list"],
        ["backup", "copy.db"],
    ],
    ids=" ".join,
)
def test_a_queue_in_memory_cannot_be_seen_from_here(shop: Shop, said: list[str]) -> None:
    """Every command says so, and what to use."""
    (shop.folder / "memory_of_a_test.py").write_text(
        "import actorq\nbroker = actorq.InMemoryBroker()\n\n"
        "@broker.task\nasync def task() -> None: ...\n"
    )
    refused = shop(*said, "-b", "memory_of_a_test:broker", code=exits.USAGE)
    assert "SQLiteBroker" in refused.err
    assert refused.out == ""


def test_a_file_that_is_none(shop: Shop) -> None:
    """The engine is unavailable: exit code 4, a line of why, no traceback."""
    (shop.folder / "shop.db").write_bytes(b"this is no database, " * 500)
    for said in (["status"], ["enqueue", "shop_of_a_test:add", "--arg", "1"], ["top"]):
        refused = shop(*said, code=exits.UNAVAILABLE)
        assert "shop.db" in refused.err
        assert "Traceback" not in refused.err


def test_every_command_is_there() -> None:
    """And explains itself."""
    from click.testing import CliRunner

    from actorq.cli.app import actorq

    for name in COMMANDS:
        shown = CliRunner().invoke(actorq, [name, "--help"])
        assert shown.exit_code == 0, shown.output
        assert len(shown.output.splitlines()) > 3


def test_the_program_of_the_page(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/cli.md, as it is typed there."""
    shutil.copy(ROOT / "examples" / "cli" / "studio.py", shop.folder)
    monkeypatch.setenv("ACTORQ_BROKER", "studio:broker")
    monkeypatch.delitem(sys.modules, "studio", raising=False)
    with shop.process("worker", "--processes", "2", "--scheduler", "--grace", "1"):
        encoded = shop(
            "enqueue", "studio:encode", "--arg", "intro.mp4", "--kwarg", "frames=3", "--wait"
        )
        assert encoded.out == '{\n  "frames": 3\n}\n'
        assert 'studio:encode("intro.mp4", frames=3)' in encoded.err
        failed = shop("enqueue", "studio:publish", "--arg", "x", "--wait", code=exits.FAILED)
        assert "PermissionError: x may not be shown before Friday" in failed.out
    sys.modules.pop("studio", None)
