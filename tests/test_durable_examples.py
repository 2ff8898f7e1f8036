"""The tutorial's last steps and the README's durable program: files, processes and their deaths."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(sys.platform == "win32", reason="needs signals as POSIX has them"),
]

ROOT = Path(__file__).parent.parent
DURABLE = ROOT / "examples" / "durable"
TUTORIAL = ROOT / "examples" / "tutorial"
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")


@contextmanager
def running(folder: Path, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A process in *folder*, and what it prints; killed at the end if it still runs."""
    path = os.pathsep.join(map(str, [ROOT, TUTORIAL / "album", DURABLE]))
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-u", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def told(process: subprocess.Popen[str]) -> str:
    """What *process* prints until its end, which is a good one."""
    assert process.stdout is not None
    output = process.stdout.read()
    assert process.wait(30) == 0, output
    return output


def test_one_line_makes_the_program_survive() -> None:
    """Step 13 is step 12 but for its name and for the line that the page shows."""
    before, after = (
        (TUTORIAL / f"step{number}.py").read_text(encoding="utf-8").splitlines()[1:]
        for number in (12, 13)
    )
    changed = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
    assert len(changed) == 1
    (diff,) = re.findall(r"^```diff\n-(.*)\n\+(.*)\n```$", PAGE, re.MULTILINE)
    assert changed == [diff]


def test_what_was_killed_is_done_by_the_next_run(tmp_path: Path) -> None:
    """31: the film of the run that was killed is rendered as attempt 2 of the same task."""
    with running(tmp_path, TUTORIAL / "step13.py") as process:
        assert process.stdout is not None
        assert "rendering, attempt 1\n" in process.stdout
        process.kill()
    with running(tmp_path, TUTORIAL / "step13.py") as process:
        output = told(process)
    assert "rendering, attempt 2\n" in output
    assert output.endswith("the film is finished\n")


def test_a_client_and_workers(tmp_path: Path) -> None:
    """What the client prints is what the page shows, whoever starts first."""
    with (
        running(tmp_path, TUTORIAL / "album" / "add_photos.py") as client,
        running(tmp_path, "-m", "actorq", "worker", "album:broker", "--processes", "2") as workers,
    ):
        output = told(client)
        workers.terminate()
        told(workers)
    assert f"$ python add_photos.py\n{output}```" in PAGE


def test_the_commands_of_the_tutorial(tmp_path: Path) -> None:
    """Step 15: each prints what the page shows, but for ids and times."""
    section = PAGE.partition("## 15.")[2].partition("## 16.")[0]
    commands = re.findall(r"^\$ actorq (.*)\n((?:[^$`].*\n)*)", section, re.MULTILINE)
    assert len(commands) == 6
    ids: dict[str, str] = {}  # those of the page, and those here
    with running(tmp_path, "-m", "actorq", "worker", "album:broker", "--processes", "2") as workers:
        with running(tmp_path, TUTORIAL / "album" / "add_photos.py") as client:
            told(client)
        for command, shown in commands:
            for theirs, ours in ids.items():
                command = command.replace(theirs, ours)
            words = ["-m", "actorq", *shlex.split(command), "--broker", "album:broker"]
            with running(tmp_path, *words) as process:
                output = told(process)
            ids |= dict(zip(ID.findall(shown), ID.findall(output), strict=False))
            if command != "status":
                assert _plain(output) == _plain(shown)
            else:  # what runs just then is chance
                assert _plain(output)[0] == _plain(shown)[0]
                assert _plain(output)[2] == _plain(shown)[2]
        workers.terminate()
        told(workers)


ID = re.compile(r"\b[0-9a-f]{32}\b")


def _plain(text: str) -> list[str]:
    """Its lines without what is another one each time."""
    text = re.sub(r"\d+(\.\d+)?(ms|s) ago", "SOME ago", ID.sub("ID", text))
    text = re.sub(r"\d+(\.\d+)? [kM]?B", "SOME kB", text)
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def test_the_durable_program_of_the_readme(tmp_path: Path) -> None:
    """Its commands print what the README says."""
    with (
        running(tmp_path, "-m", "actorq", "worker", "tasks:broker", "--processes", "2") as workers,
        running(tmp_path, DURABLE / "hello.py") as client,
    ):
        output = told(client)
        workers.terminate()
        told(workers)
    assert f"$ python hello.py\n{output}```" in (ROOT / "README.md").read_text(encoding="utf-8")
