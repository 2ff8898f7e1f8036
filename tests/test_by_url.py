"""`broker_from_url`: each scheme is its engine, options are checked by name, no password is shown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

import actorq
from actorq.engines import by_url


class Server:
    """Notes what a server's broker is made of."""

    def __init__(
        self,
        url: str,
        *,
        lease: float = 30.0,
        recheck: float = 1.0,
        timeout: float = 10.0,
        storage: object = None,
    ) -> None:
        self.url = url
        self.said = {"lease": lease, "recheck": recheck, "timeout": timeout}
        self.named = ""


class Redis(Server):
    """With what only Redis has."""

    def __init__(self, url: str, *, namespace: str = "actorq", lease: float = 30.0) -> None:
        super().__init__(url, lease=lease)
        self.named = namespace


class Postgres(Server):
    """With what only PostgreSQL has."""

    def __init__(self, url: str, *, schema: str = "actorq", timeout: float = 10.0) -> None:
        super().__init__(url, timeout=timeout)
        self.named = schema


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The brokers of servers are replaced by notes of what they were given."""
    for name, cls in (("redis", Redis), ("postgres", Postgres)):
        module = ModuleType("broker")
        setattr(module, f"{name.title()}Broker", cls)
        monkeypatch.setitem(sys.modules, f"actorq.engines.{name}.broker", module)


def made(url: str, **options: Any) -> Any:
    """The broker that it names."""
    return actorq.broker_from_url(url, **options)


def test_in_memory() -> None:
    """With its options from either place."""
    assert isinstance(made("memory://"), actorq.InMemoryBroker)
    assert made("memory://?lease=2.5").lease == 2.5
    assert made("MEMORY://", lease=3).lease == 3


def test_three_slashes_are_a_relative_path_and_four_an_absolute_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As everywhere."""
    monkeypatch.chdir(tmp_path)
    assert made("sqlite:///a/queue.db").storage.path == tmp_path / "a" / "queue.db"
    assert made(f"sqlite:///{tmp_path}/x.db").storage.path == tmp_path / "x.db"
    broker = made("sqlite:///q.db?lease=7&synchronous=normal", recheck=0.5)
    assert isinstance(broker, actorq.SQLiteBroker)
    assert (broker.lease, broker.storage.synchronous, broker.storage.recheck) == (7, "normal", 0.5)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_any_path_can_be_written(name: str) -> None:
    """Percent-encoded, it comes back as it was."""
    assert by_url._path(f"/{quote(f'x{name}')}") == f"x{name}"


@pytest.mark.usefixtures("servers")
@pytest.mark.parametrize(
    ("url", "left"),
    [
        ("redis://localhost", "redis://localhost"),
        ("redis://localhost:6379/0?namespace=shop", "redis://localhost:6379/0"),
        ("rediss://user:p%40ss@h/1?a=b&namespace=shop&c=%2F", "rediss://user:p%40ss@h/1?a=b&c=%2F"),
        ("unix:///run/redis.sock?db=2", "unix:///run/redis.sock?db=2"),
        ("redis+sentinel://a:1,b:2/main/0", "redis+sentinel://a:1,b:2/main/0"),
        ("redis+cluster://a:1,b:2?namespace=shop", "redis+cluster://a:1,b:2"),
        ("postgresql:///mydb?host=/run", "postgresql:///mydb?host=/run"),
        ("postgres://u:p%3F@h1:1,h2:2/x?sslmode=verify-full&schema=shop", None),
        (
            "postgresql://localhost?connect_timeout=3&timeout=4",
            "postgresql://localhost?connect_timeout=3",
        ),
    ],
)
def test_what_is_not_ours_is_left_to_the_driver_as_it_was_written(
    url: str, left: str | None
) -> None:
    """Not decoded and encoded again, which drivers do not all do alike."""
    broker = made(url)
    assert broker.url == (left or "postgres://u:p%3F@h1:1,h2:2/x?sslmode=verify-full")
    assert broker.named == ("shop" if "=shop" in url else "actorq")
    assert broker.said["timeout"] == (4 if "&timeout" in url else 10)


@pytest.mark.usefixtures("servers")
@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("queue.db", "sqlite:///queue.db for a file"),
        ("", "sqlite:///queue.db for a file"),
        (r"C:\queue.db", "sqlite:///queue.db for a file"),
        ("sqlite://queue.db", "third slash"),
        ("sqlite://", "memory://"),
        ("sqlite:///", "expects the path of a file"),
        ("sqlite:///:memory:", "InMemoryBroker"),
        ("sqlite:///q.db?namespace=x", "unknown option 'namespace'; it may have synchronous"),
        ("memory://here", "nothing after the slashes"),
        ("memory://?leese=1", "did you mean lease?"),
        ("redis://secret@h?leese=1", "did you mean lease?"),
        ("redis://secret@h?name_space=1", "did you mean namespace?"),
        ("postgresql://secret@h?shema=a", "did you mean schema?"),
        ("postgresql://secret@h?namespace=a", "unknown option 'namespace'; it may have schema"),
        ("redis://secret@h?schema=a", "unknown option 'schema'; it may have namespace"),
        ("redis://secret@h?lease=long", "lease expects seconds, such as lease=10; got 'long'"),
        ("redis://secret@h?lease=-1", "lease expects seconds"),
        ("redis://secret@h?lease=nan", "lease expects seconds"),
        ("redis://secret@h?lease=1&lease=2", "says lease twice"),
        ("redis://:half?secret@h", "write %3F"),
        ("redis://:half?lease=secret@h", "write %3F"),
        ("redis:secret@h", "two slashes"),
        ("rediss:/secret@h", "two slashes"),
        ("rdis://secret@h", "did you mean redis://?"),
        ("postgresql+psycopg://u:secret@h", "write postgresql://"),
        ("postgressql://u:secret@h", "did you mean postgresql://?"),
        ("amqp://u:secret@h", "it knows memory://"),
        ("host=h password=secret", "PostgresBroker(...)"),
    ],
)
def test_a_wrong_url_is_told_what_to_write_and_its_password_is_not_shown(
    url: str, says: str
) -> None:
    """What was expected, and what was meant, perhaps."""
    with pytest.raises(ValueError) as caught:
        made(url)
    text = str(caught.value).replace("broker_from_url() knows", "it knows")
    assert says in text
    assert "secret" not in text


@pytest.mark.usefixtures("servers")
def test_options_beside_the_url_are_checked_by_name() -> None:
    """A slip is an error, and so is one that is said in both places."""
    with pytest.raises(TypeError, match=r"unknown option 'leese'.*did you mean lease\?"):
        made("redis://localhost", leese=3)
    with pytest.raises(ValueError, match="say it once"):
        made("redis://localhost?lease=3", lease=3)
    with pytest.raises(TypeError, match="expects a URL as text"):
        made(Path("queue.db"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [("redis://localhost", "msgpack", "redis"), ("postgresql://localhost", "psycopg", "postgres")],
)
def test_a_missing_extra_is_named(url: str, module: str, extra: str) -> None:
    """With the command that installs it, wherever the engine is asked for."""
    for code in (f"actorq.broker_from_url({url!r})", f"actorq.{extra.title()}Broker({url!r})"):
        done = subprocess.run(
            [sys.executable, "-c", f"import sys, actorq; sys.modules[{module!r}] = None; {code}"],
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        said = done.stderr.splitlines()[-1].replace('"', "'")
        assert f"pip install 'actorq[{extra}]'" in said


def test_no_engine_is_imported_that_is_not_asked_for() -> None:
    """Neither its module nor its driver."""
    code = (
        "import sys, actorq; actorq.broker_from_url('memory://'); "
        "print([each for each in sys.modules if each.startswith(('actorq.engines.sqlite', "
        "'actorq.engines.redis', 'actorq.engines.postgres', 'coredis', 'psycopg'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=60, check=True
    )
    assert done.stdout == "[]\n"
