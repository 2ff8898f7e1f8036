"""The same program, the engine chosen by its URL: it prints the same, and what it asserts holds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


pytestmark = pytest.mark.engine

ROOT = Path(__file__).parent.parent
PROGRAM = ROOT / "examples" / "any_engine.py"
PAGE = (ROOT / "docs" / "engines.md").read_text(encoding="utf-8")
PRINTS = PAGE.partition("```text examples/any_engine.py\n")[2].partition("```")[0]


@pytest.fixture(params=["memory", "sqlite", "redis", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path, namespace: str) -> str:
    """An empty queue of each engine; where it is shared, words are not made up for by looks."""
    match request.param:
        case "sqlite":
            return f"sqlite:///{tmp_path}/shop.db?recheck=30"
        case "redis":
            server = request.getfixturevalue("redis_server")
            return f"{server.url}?namespace={namespace}&recheck=30"
        case "postgres":
            server = request.getfixturevalue("postgres_server")
            return f"{server.url}?schema={namespace}&recheck=30"
        case _:
            return "memory://"


def environment(url: str) -> dict[str, str]:
    """In which the program and the workers find each other, and their queue."""
    path = os.pathsep.join(map(str, [ROOT, PROGRAM.parent]))
    return {**os.environ, "PYTHONPATH": path, "QUEUE_URL": url, "PYTHONIOENCODING": "utf-8"}


def run(url: str, *arguments: str) -> str:
    """What it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(PROGRAM), *arguments],
        env=environment(url),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_program_is_the_same_on_every_engine(url: str) -> None:
    """And what is kept of it does not disturb the next run."""
    assert run(url) == PRINTS
    assert run(url) == PRINTS


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals as POSIX has them")
def test_it_prints_the_same_when_its_tasks_run_elsewhere(url: str) -> None:
    """A client, two processes of workers, and a scheduler."""
    if url.startswith("memory"):
        pytest.skip("there is no elsewhere")
    words = ["worker", "any_engine:broker", "--processes", "2", "--scheduler", "--grace", "1"]
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "actorq", *words],
        env=environment(url),
        stdout=subprocess.DEVNULL,
    ) as workers:
        try:
            assert run(url, "client") == PRINTS
            workers.terminate()
            assert workers.wait(30) == 0
        finally:
            workers.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals as POSIX has them")
def test_the_album_of_the_tutorial_goes_to_a_server(url: str, tmp_path: Path) -> None:
    """With the one line changed that step 17 shows; the client prints what step 14 shows."""
    if url.startswith("memory"):
        pytest.skip("there is no elsewhere")
    page = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    step = page.partition("## 17.")[2].partition("## Where")[0]
    new = step.partition("```python\n")[2].partition("\n```")[0]
    for path in (ROOT / "examples" / "tutorial" / "album").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        changed = text.replace('broker = actorq.SQLiteBroker("album.db")', f"import os\n\n{new}")
        assert (changed != text) is (path.name == "album.py")
        (tmp_path / path.name).write_text(changed, encoding="utf-8")
    words = ["worker", "album:broker", "--processes", "2", "--grace", "1"]
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "actorq", *words],
        cwd=tmp_path,
        env=environment(url),
        stdout=subprocess.DEVNULL,
    ) as workers:
        try:
            client = subprocess.run(
                [sys.executable, "-W", "error", str(tmp_path / "add_photos.py")],
                cwd=tmp_path,
                env=environment(url),
                capture_output=True,
                encoding="utf-8",
                timeout=60,
                check=False,
            )
            assert client.returncode == 0, client.stdout + client.stderr
            assert f"$ python add_photos.py\n{client.stdout}```" in page
            workers.terminate()
            assert workers.wait(30) == 0
        finally:
            workers.kill()
