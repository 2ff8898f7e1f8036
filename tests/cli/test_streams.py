"""What a command writes where: the answer alone on stdout, whatever the streams are like."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.project import BROKER, MODULE, PROJECT, Shop
from cli.running import ROOT


pytestmark = pytest.mark.engine

TALKS = """
print("the module says something")

@broker.on_startup
async def start(state: object) -> None:
    print("so does its start")

@broker.task(retries=0)
async def shouts() -> None:
    raise ValueError("ü\\u20ac\\U0001f600")
"""


def command(
    shop: Shop, *arguments: str, shell: str = "", **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """`actorq` in a process of its own; *shell* says what its streams are."""
    return subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {shell}', "sh", sys.executable, "-m", "actorq", *arguments],
        cwd=shop.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=40,
    )


@pytest.fixture
def talker(shop: Shop) -> Shop:
    """A project whose module prints."""
    (shop.folder / f"{MODULE}.py").write_text(PROJECT.replace("off", "normal") + TALKS)
    return shop


@pytest.mark.parametrize(
    "said",
    [
        ["status"],
        ["doctor"],
        ["top"],
        ["queue", "list"],
        ["enqueue", f"{MODULE}:add", "--arg", "1"],
    ],
)
def test_what_a_module_prints_is_no_part_of_the_answer(talker: Shop, said: list[str]) -> None:
    """With --json stdout is one document, and nothing before it."""
    answer = talker(*said, "--json")
    assert json.loads(answer.out) is not None
    assert "the module says something" in answer.err
    assert "so does its start" in answer.err


def test_a_shell_that_completes_gets_names_alone(
    talker: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is printed meanwhile."""
    done = command(
        talker,
        _ACTORQ_COMPLETE="bash_complete",
        COMP_WORDS="actorq queue pause ",
        COMP_CWORD="3",
    )
    assert done.stdout.decode().split() == ["plain,default", "plain,slow"]
    assert done.stderr == b""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_text_on_any_stream(talker: Shop, encoding: str) -> None:
    """What its encoding lacks is escaped, in JSON as JSON does."""
    with talker.worker():
        task_id = talker.enqueue(f"{MODULE}:shouts")
        talker("result", task_id, "--wait", "20s", code=1)
    for_programs = command(talker, "result", task_id, "--json", PYTHONIOENCODING=encoding)
    assert json.loads(for_programs.stdout)["error"]["message"] == "ü€😀"
    for_people = command(talker, "result", task_id, PYTHONIOENCODING=encoding)
    assert for_people.returncode == 1
    assert b"ValueError: " in for_people.stdout
    for said in (["status"], ["top"], ["doctor"]):
        done = command(talker, *said, PYTHONIOENCODING=encoding)
        assert b"Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("said", "shell", "code"),
    [
        (["status"], ">&-", 0),
        (["status", "--json"], ">&- 2>&- <&-", 0),
        (["queue", "purge", "default"], "<&-", 2),
        (["status", "-b", "nowhere:broker"], "2>&-", 2),
        (["status", "--json"], ">/dev/full", 1),
        (["completion", "bash"], ">/dev/full", 1),
        (["--help"], ">/dev/full", 1),
    ],
)
def test_streams_that_are_closed_or_full(
    talker: Shop, said: list[str], shell: str, code: int
) -> None:
    """A closed one is as good as /dev/null; a full disk is said in a line."""
    done = command(talker, *said, shell=shell)
    assert done.returncode == code, done.stderr
    assert b"Traceback" not in done.stderr
    if "/dev/full" in shell:
        assert b"error: cannot go on: " in done.stderr


def test_who_reads_no_further(talker: Shop) -> None:
    """As with `| head -1`: no word of it."""
    script = f"{sys.executable} -m actorq top --json --count 1000000 --interval 0ms | head -1"
    done = subprocess.run(
        ["/bin/sh", "-c", script],
        cwd=talker.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "ACTORQ_BROKER": BROKER},
        capture_output=True,
        check=False,
        timeout=40,
    )
    assert json.loads(done.stdout)["tasks"]
    assert b"Traceback" not in done.stderr
    assert b"error" not in done.stderr


def test_a_module_that_ends_the_program(shop: Shop, tmp_path: Path) -> None:
    """It is said, and what to do; its own exit code would mean something else here."""
    (tmp_path / "ends.py").write_text("import sys; sys.exit(0)")
    answer = shop("status", "-b", "ends:broker", code=1)
    assert "it ended the program, with 0" in answer.err
    assert '__name__ == "__main__"' in answer.err
    assert shop("doctor", "-b", "ends:broker", "--json", code=1).json["healthy"] is False


@pytest.mark.parametrize(
    "name", [":broker", ".shop:broker", "a..b:broker", "a/b.py:broker", " x:y"]
)
def test_what_is_no_name_of_a_module(shop: Shop, name: str) -> None:
    """A usage error, without a traceback."""
    answer = shop("status", "-b", name, code=2)
    assert "no name of a module" in answer.err or "names no module" in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    "said",
    [["--eta", "0001-01-01T00:00+12:00"], ["--arg", "[" * 100_000], ["--priority", "9" * 30]],
)
def test_values_beyond_all_bounds(shop: Shop, said: list[str]) -> None:
    """Are refused here, before they reach the queue."""
    answer = shop("enqueue", f"{MODULE}:add", *said, code=2)
    assert "Traceback" not in answer.err
    assert shop("status", "--json").json["tasks"]["ready"] == 0


def test_how_a_call_was_understood_stands_before_its_id(shop: Shop) -> None:
    """As the page says; in a terminal both streams are one."""
    done = command(shop, "enqueue", "shop_of_a_test:add", "--arg", "1", shell="2>&1")
    assert done.returncode == 0
    understood, task_id = done.stdout.decode().splitlines()
    assert understood.startswith("enqueued shop_of_a_test:add(1")
    assert len(task_id) == 32
