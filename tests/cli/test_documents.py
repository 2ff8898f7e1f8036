"""What `--json` writes has the fields that docs/cli.md lists."""

from __future__ import annotations

import re
from typing import Any

import pytest

from actorq.cli import exits
from cli.project import Shop
from cli.running import ROOT


pytestmark = pytest.mark.engine

PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
#: Object and fields, by the table of the page.
FIELDS = {
    name: fields.split("` `")
    for name, fields in re.findall(r"^\| (\w+) \| `(.+)` \|$", PAGE, re.MULTILINE)
}
TASK = "shop_of_a_test:lasts"


def is_a(name: str, document: Any) -> None:
    """It has the fields of that object, in that order."""
    assert list(document) == FIELDS[name], name


def test_the_table_is_read() -> None:
    """Or the rest would be content with nothing."""
    assert len(FIELDS) == 18
    assert FIELDS["pending"] == ["task_id", "state"]


def test_a_queue_with_something_of_everything(shop: Shop) -> None:
    """A33: a running job with its line and progress, a schedule, a dead letter."""
    with shop.worker("--queues", "slow=2,default=1"):
        is_a("enqueued", shop("enqueue", TASK, "--id", "runs", "--json").json)
        shop("schedule", "add", TASK, "--every", "1h", "--id", "hourly", "--json")
        shop("enqueue", "shop_of_a_test:fails", "--arg", "no", "--id", "dies", "--wait", code=1)
        while not (job := job_of(shop)).get("progress"):
            pass
        is_a("job", job)
        is_a("progress", job["progress"])
        assert re.fullmatch(r"lasts \(.*shop_of_a_test\.py:\d+\)", job["line"])
        status = shop("status", "--json").json
        is_a("status", status)
        is_a("tasks", status["tasks"])
        for queue in status["queues"]:
            is_a("queue", queue)
        (worker,) = status["workers"]
        is_a("worker", worker)
        assert (worker["queues"], worker["weights"]) == (["slow", "default"], [2.0, 1.0])
        (schedule,) = status["schedules"]
        is_a("schedule", schedule)
        assert status["engine"]["broker"] == "SQLiteBroker"
        one, two = shop("top", "--count", "2", "--interval", "50ms", "--json").lines
        is_a("top", one)
        assert (one["rate"], two["rate"]) == (None, 0.0)
        (letter,) = shop("dead", "list", "--json").json
        is_a("letter", letter)
        is_a("letter", shop("dead", "show", "dies", "--json").json)
        is_a("result", shop("result", "dies", "--json", code=1).json)
        is_a("pending", shop("result", "nobody", "--json", code=exits.NOT_FOUND).json)
        (cancelled,) = shop("cancel", "runs", "--json").json
        is_a("cancelled", cancelled)
    (replayed,) = shop("dead", "replay", "dies", "--json").json
    is_a("replayed", replayed)


def job_of(shop: Shop) -> dict[str, Any]:
    """The running job, as far as there is one."""
    workers = shop("status", "--json").json["workers"]
    jobs: list[dict[str, Any]] = [job for worker in workers for job in worker["jobs"]]
    return jobs[0] if jobs else {}


def test_updates(shop: Shop) -> None:
    """A line for each; the last is a result."""
    shop.enqueue("shop_of_a_test:steps", "--id", "s")
    (shop.folder / "go").touch()
    with shop.process("watch", "s", "--json") as watch, shop.worker():
        out, _ = watch.communicate(timeout=30)
    import json

    *updates, last = [json.loads(line) for line in out.splitlines()]
    for update in updates:
        is_a("update", update)
    is_a("result", last)


def test_doctor_s(shop: Shop) -> None:
    """The findings, each with what to change."""
    document = shop("doctor", "--json", code=exits.FAILED).json  # synchronous is off
    is_a("doctor", document)
    for finding in document["findings"]:
        is_a("finding", finding)
