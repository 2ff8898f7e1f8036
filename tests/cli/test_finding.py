"""How a command finds its broker, and what it says if it does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.text import Text

from actorq import InMemoryBroker, SQLiteBroker
from actorq.cli import exits
from actorq.cli.app import COMMANDS, actorq, run
from actorq.cli.finding import broker_name, broker_with_tasks, find_broker
from actorq.cli.output import CommandError, Output
from actorq.cli.tables import table
from cli.running import ROOT


MODULE = "import actorq\nbroker = actorq.InMemoryBroker()\nother = 3\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, of a project that says nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("ACTORQ_BROKER", raising=False)
    return tmp_path


def refused(said: str | None) -> CommandError:
    """The error of a search in vain."""
    with pytest.raises(CommandError) as refusal:
        find_broker(said)
    return refusal.value


def test_the_first_that_says_it_decides(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line, the environment, the project."""
    (folder / "pyproject.toml").write_text('[tool.actorq]\nbroker = "project:broker"\n')
    assert broker_name(None) == "project:broker"
    monkeypatch.setenv("ACTORQ_BROKER", "environment:broker")
    assert broker_name(None) == "environment:broker"
    assert broker_name("line:broker") == "line:broker"


def test_nobody_says_it(folder: Path) -> None:
    """The error names all three ways."""
    error = refused(None)
    assert error.exit_code == exits.USAGE
    assert "ACTORQ_BROKER" in " ".join(error.advice)
    assert "pyproject.toml" in " ".join(error.advice)


def test_a_broker_in_a_module_of_the_current_folder(folder: Path) -> None:
    """By its name, by a path of names, or alone in its module."""
    (folder / "found_here.py").write_text(MODULE + "class Inner:\n    queue = broker\n")
    broker = find_broker("found_here:broker")
    assert isinstance(broker, InMemoryBroker)
    assert find_broker("found_here:Inner.queue") is broker
    assert find_broker("found_here") is broker


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("absent_module:broker", "no module 'absent_module'"),
        ("lacking.inner:broker", "no module 'lacking.inner'"),
        ("lacking:brocker", "its brokers: broker"),
        ("lacking:other", "is an int"),
        (":broker", "names no module"),
        ("two_brokers", "its brokers: broker, second"),
    ],
)
def test_what_is_wrong_with_a_name_is_said(folder: Path, said: str, words: str) -> None:
    """All of them are usage errors."""
    (folder / "lacking.py").write_text(MODULE)
    (folder / "two_brokers.py").write_text(MODULE + "second = actorq.InMemoryBroker()\n")
    error = refused(said)
    assert error.exit_code == exits.USAGE
    assert words in "\n".join([error.message, *error.advice])


def test_a_url_is_enough_to_look_into_a_queue(folder: Path) -> None:
    """But there are no tasks in it, and its password is not shown."""
    broker = find_broker("sqlite:///queue.db?lease=3")
    assert isinstance(broker, SQLiteBroker)
    assert broker.storage.path == folder / "queue.db"
    assert "did you mean redis://?" in refused("rdis://:secret@localhost").message
    with pytest.raises(CommandError, match="needs the tasks") as caught:
        broker_with_tasks("redis://:secret@localhost", "worker")
    assert "secret" not in "\n".join([caught.value.message, *caught.value.advice])


def test_a_module_that_fails_is_shown_where_it_fails(folder: Path) -> None:
    """That is no usage error, and the lines of the import machinery are left out."""
    (folder / "failing_module.py").write_text("def late():\n    return 1 / 0\n\nlate()\n")
    error = refused("failing_module:broker")
    assert error.exit_code == exits.FAILED
    assert "ZeroDivisionError" in error.message
    assert "failing_module.py" in error.detail
    assert "importlib" not in error.detail


def test_a_module_that_lacks_a_module_is_not_called_absent(folder: Path) -> None:
    """What is not there is what it imports."""
    (folder / "lacks_one.py").write_text("import nowhere_at_all\n")
    error = refused("lacks_one:broker")
    assert error.exit_code == exits.FAILED
    assert "nowhere_at_all" in error.message


def test_a_configuration_that_cannot_be_read(folder: Path) -> None:
    """Is said, and not taken for none."""
    (folder / "pyproject.toml").write_text("[tool.actorq\n")
    assert "pyproject.toml" in refused(None).message
    (folder / "pyproject.toml").write_text("[tool.actorq]\nbroker = 3\n")
    assert "got 3" in refused(None).message
    (folder / "pyproject.toml").write_bytes(b"\xff")
    assert "cannot read" in refused(None).message
    (folder / "pyproject.toml").write_text("tool = 3\n")
    assert refused(None).message == "no broker is named"


def test_a_system_without_worker_processes_is_told_so() -> None:
    """As Windows would be: what it lacks is not looked for when the command is imported."""
    script = """
import signal, socket, subprocess, sys, trio, actorq
from actorq.cli.app import run
del signal.SIGHUP, signal.SIGCHLD, socket.MSG_DONTWAIT, socket.socketpair
signal.Signals = [each for each in signal.Signals if each.name in ("SIGINT", "SIGTERM")]
sys.platform = "win32"
sys.exit(run(["worker", "a:b"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == exits.USAGE, done.stderr
    assert "on Windows, open the system in a program of yours" in done.stderr


def test_help_imports_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Every command is in it all the same."""
    assert run(["--help"]) == exits.OK
    said = capsys.readouterr().out
    assert all(name in said for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With its own help."""
    assert actorq.get_command(None, name) is not None  # type: ignore[arg-type]
    assert run([name, "--help"]) == exits.OK
    assert "Usage: actorq" in capsys.readouterr().out


def test_a_wrong_command_line_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """On stderr, with nothing on stdout."""
    assert run(["no-such-command"]) == exits.USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "no-such-command" in captured.err


def test_the_broker_may_be_named_as_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    """By `--broker` for workers, too; not both ways."""
    for command in ("worker", "scheduler"):
        assert run([command, "a:b", "-b", "c:d"]) == exits.USAGE
        assert "twice" in capsys.readouterr().err


def test_nothing_is_written_after_the_end_of_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Tables fill their last column with spaces."""
    Output().text(table(("A", ""), [("1", "longer"), ("2", "")], 80), Text())
    assert capsys.readouterr().out == "A\n1  longer\n2\n\n"


def test_json_leaves_out_what_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """And the other way round."""
    for output in (Output(json=True), Output()):
        output.document({"a": 1})
        output.text("for people")
    said = capsys.readouterr().out
    assert json.loads(said.removesuffix("for people\n")) == {"a": 1}
