"""`broker_from_url`: the engine is a line of configuration, and the program stays what it is.

Owns which scheme means which broker, and which options of a URL are ours; the rest of a server's URL is
its driver's, as it stands.  An engine's module is imported when its scheme is asked for.

What is said of a URL never shows it: there may be a password in it.
"""

from __future__ import annotations

import difflib
import inspect
import math
import re
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, unquote_plus

import attrs


if TYPE_CHECKING:
    from actorq.actors.broker import Broker


@attrs.frozen
class _Engine:
    """What a scheme stands for."""

    module: str
    broker: str
    example: str
    #: Whether its class takes the URL; what is not ours in that is its driver's.
    by_url: bool = False

    def options(self) -> list[str]:
        """What its class takes by name."""
        parameters = inspect.signature(self.load()).parameters.values()
        return [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]

    def load(self) -> Any:
        """Its class."""
        return getattr(import_module(self.module), self.broker)


_MEMORY: Final = _Engine("actorq.engines.memory.broker", "InMemoryBroker", "memory://")
_FILE: Final = _Engine("actorq.engines.sqlite.broker", "SQLiteBroker", "sqlite:///queue.db")
_REDIS: Final = _Engine(
    "actorq.engines.redis.broker", "RedisBroker", "redis://localhost:6379/0", by_url=True
)
_POSTGRES: Final = _Engine(
    "actorq.engines.postgres.broker", "PostgresBroker", "postgresql://localhost/mydb", by_url=True
)

_ENGINES: Final = {
    "memory": _MEMORY,
    "sqlite": _FILE,
    "redis": _REDIS,
    "rediss": _REDIS,
    "unix": _REDIS,
    "redis+sentinel": _REDIS,
    "rediss+sentinel": _REDIS,
    "redis+cluster": _REDIS,
    "rediss+cluster": _REDIS,
    "postgresql": _POSTGRES,
    "postgres": _POSTGRES,
}
_SCHEMES: Final = ", ".join(f"{each}://" for each in _ENGINES)
#: Options that are text; the others that a URL may have are seconds.
_TEXTS: Final = ("synchronous", "namespace", "schema")
_SECONDS: Final = ("lease", "recheck", "timeout")


def broker_from_url(url: str, **options: Any) -> Broker:
    """The broker that *url* names, so that the engine is chosen where a program is configured.

    ``memory://``; ``sqlite:///relative.db`` and ``sqlite:////absolute.db``; ``redis://``, ``rediss://``
    (with TLS), ``unix://`` (a socket), ``redis+sentinel://``, ``redis+cluster://``; ``postgresql://`` or
    ``postgres://``.  Options are what the broker's class takes by name.  In the URL they stand like
    this: ``redis://localhost/0?lease=10&namespace=shop``; what else is in the query of a server's URL
    is its driver's.  Nothing is opened, and nobody is connected to, before a system opens.
    """
    if not isinstance(url, str):
        raise TypeError(
            f"broker_from_url() expects a URL as text, such as 'sqlite:///queue.db'; got {url!r}"
        )
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower()
    engine = _ENGINES.get(scheme)
    if engine is None or "://" not in url:
        raise ValueError(_unknown(url))
    where = f"the URL {scheme}://..."
    names = engine.options()
    before, said = _options_in(rest, engine, names, where)
    for name in options:
        if name not in names:
            raise TypeError(
                f"broker_from_url() got an unknown option {name!r}; {engine.broker} has "
                f"{_listed(names, name)}"
            )
        if name in said:
            raise ValueError(f"{where} says {name}, and so does {name}=...: say it once")
    said |= options
    made: Broker
    if engine.by_url:
        made = engine.load()(f"{scheme}://{before}", **said)
    elif engine is _FILE:
        made = engine.load()(_path(before), **said)
    elif before.strip("/"):
        raise ValueError(f"{where} expects nothing after the slashes: it is this process's memory")
    else:
        made = engine.load()(**said)
    return made


def _options_in(
    rest: str, engine: _Engine, names: list[str], where: str
) -> tuple[str, dict[str, Any]]:
    """What is left of a URL without our options, and those; the rest stays as it was written."""
    before, _, query = rest.partition("?")
    if "@" in query and "@" not in before:  # half a password must not be shown below
        raise ValueError(
            f"{where} has an @ only after a question mark; within a password write %3F for '?' and "
            f"%40 for '@'"
        )
    ours = [each for each in names if each in _TEXTS or each in _SECONDS]
    said: dict[str, Any] = {}
    others: list[str] = []
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        name, value = unquote_plus(name), unquote_plus(value)
        if name in said:
            raise ValueError(f"{where} says {name} twice")
        if name in ours:
            said[name] = value if name in _TEXTS else _seconds(name, value, where)
        elif (
            not engine.by_url
            or name in (*_TEXTS, *_SECONDS)  # another engine's: no driver has it
            or difflib.get_close_matches(name, ours, 1, 0.8)
        ):
            raise ValueError(
                f"{where} has an unknown option {name!r}; it may have {_listed(ours, name)}"
            )
        else:
            others.append(part)
    return "?".join(filter(None, [before, "&".join(others)])), said


def _seconds(name: str, value: str, where: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ValueError(f"{where}: {name} expects seconds, such as {name}=10; got {value!r}")
    return seconds


def _path(rest: str) -> str:
    """The path of a file: relative after three slashes, absolute after four."""
    if not rest.startswith("/") or not rest.strip("/"):
        raise ValueError(
            f"sqlite:// expects the path of a file after a third slash: 'sqlite:///queue.db' (from "
            f"the current folder) or 'sqlite:////var/lib/queue.db'; got 'sqlite://{rest}'"
            + ("; for a queue in memory write 'memory://'" * (not rest.strip("/")))
        )
    return unquote(rest[1:])


def _unknown(url: str) -> str:
    """Why *url* names no engine, without showing more of it than its scheme."""
    scheme, colon, _ = url.partition(":")
    if not colon or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.\-]+", scheme):
        meant = "sqlite:///queue.db for a file"
        if re.search(r"\b(host|dbname|user|service)\s*=", url):
            meant = "postgresql://..., or give these words to PostgresBroker(...)"
        return f"broker_from_url() expects a URL with one of {_SCHEMES}; write {meant}"
    scheme = scheme.lower()
    if scheme in _ENGINES:
        example = _ENGINES[scheme].example
        return f"{scheme}: expects two slashes after the colon, such as {example!r}"
    base, plus, _ = scheme.partition("+")
    if plus and base in _ENGINES:
        return f"unknown scheme {scheme}://; write {base}:// (which driver it is, is ours to say)"
    return f"unknown scheme {scheme}://; broker_from_url() knows {_listed(_ENGINES, scheme, '://')}"


def _listed(names: Iterable[str], wrong: str, suffix: str = "") -> str:
    """All there are, and which one was meant, perhaps."""
    names = list(names)
    text = ", ".join(f"{each}{suffix}" for each in names)
    close = difflib.get_close_matches(wrong, names, 1, 0.7)
    return f"{text} (did you mean {close[0]}{suffix}?)" if close else text
