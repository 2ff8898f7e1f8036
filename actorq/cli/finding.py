"""Finding the broker that a command works on: said as `module:broker`, or configured.

In this order: an argument or `--broker`, the environment's `ACTORQ_BROKER`, and the line
`[tool.actorq] broker = "module:broker"` in the pyproject.toml of the current folder.

A URL will do for who only looks into a queue: such a broker knows no tasks.
"""

from __future__ import annotations

import importlib
import os
import sys
import tomllib
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from actorq.actors.broker import Broker
from actorq.cli import exits
from actorq.cli.output import CommandError
from actorq.cli.words import a
from actorq.task import Task


F = TypeVar("F", bound=Callable[..., Any])

VARIABLE: Final = "ACTORQ_BROKER"
HOW: Final = (
    "say which broker: module:broker, where `from module import broker` would find it;",
    f"with --broker, in the environment as {VARIABLE}, or in pyproject.toml:",
    '    [tool.actorq]\n    broker = "module:broker"',
    "to look into a queue its URL will do, too: sqlite:///queue.db, redis://host:6379/0, "
    "postgresql://host/database",
)


def broker_option(function: F) -> F:
    """Give a command `-b/--broker`: its function gets `broker`, a name or None, for `find_broker`."""
    return click.option(
        "-b",
        "--broker",
        metavar="MODULE:BROKER",
        help=f"The broker to work on, or a queue's URL to look into [default: ${VARIABLE}, or "
        f"tool.actorq.broker in pyproject.toml].",
    )(function)


def broker_name(said: str | None) -> str:
    """`module:broker`, from wherever it is said; a usage error if nobody says it."""
    name = said or os.environ.get(VARIABLE) or _configured()
    if not name:
        raise CommandError("no broker is named", *HOW, exit_code=exits.USAGE)
    return name


def is_url(name: str) -> bool:
    """Whether that is the URL of a queue, and no name.  It may have a password: it is shown nowhere."""
    return "://" in name


def broker_with_tasks(said: str | None, command: str) -> str:
    """As `broker_name`, of a broker whose tasks *command* has to know."""
    name = broker_name(said)
    if is_url(name):
        raise CommandError(
            f"`actorq {command}` needs the tasks, and a URL has none",
            "name a broker in the module that has them: module:broker, with",
            "    broker = actorq.broker_from_url(...)",
            exit_code=exits.USAGE,
        )
    return name


def find_broker(said: str | None = None) -> Broker:
    """The broker of that name, its module imported; the current folder is on the path."""
    name = broker_name(said)
    if is_url(name):
        return _by_url(name)
    module_name, _, attribute = name.partition(":")
    if not module_name:
        raise CommandError(f"{name!r} names no module", *HOW, exit_code=exits.USAGE)
    if attribute.startswith("/"):
        raise CommandError(  # the rest may be a password
            f"{module_name}:/... is neither module:broker nor a URL, which has two slashes: "
            f"{module_name}://...",
            *HOW,
            exit_code=exits.USAGE,
        )
    module = import_module(module_name, f"the broker {name!r}")
    brokers = {each: value for each, value in vars(module).items() if isinstance(value, Broker)}
    if not attribute and len(brokers) == 1:
        return next(iter(brokers.values()))
    there = f"its brokers: {', '.join(sorted(brokers)) or 'none'}"
    if not attribute:
        raise CommandError(
            f"{name!r} does not say which of a module's variables is the broker",
            there,
            *HOW,
            exit_code=exits.USAGE,
        )
    found: Any = module
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            where = getattr(module, "__file__", None) or "no file"
            raise CommandError(
                f"module {module_name!r} ({where}) has no {attribute!r}",
                there,
                exit_code=exits.USAGE,
            ) from None
    if not isinstance(found, Broker):
        raise CommandError(
            f"{name!r} is {a(type(found).__name__)}; a broker was expected, such as "
            f'SQLiteBroker("queue.db")',
            *([f"if it makes one: `broker = {attribute}()` in that module"] * _may_make_one(found)),
            there,
            exit_code=exits.USAGE,
        )
    return found


def _by_url(url: str) -> Broker:
    from actorq.engines.by_url import broker_from_url

    try:
        return broker_from_url(url)
    except (ValueError, ImportError) as error:  # which do not show it
        raise CommandError(str(error), exit_code=exits.USAGE) from None


def _may_make_one(found: object) -> bool:
    return callable(found) and not isinstance(found, Task)


def import_module(name: str, what: str) -> Any:
    """The module called *name*; an error that says whether it is missing or broken."""
    if not all(part.isidentifier() for part in name.split(".")):
        raise CommandError(
            f"cannot find {what}: {name!r} is no name of a module",
            "write it as `import` would: folder.module, not folder/module.py",
            exit_code=exits.USAGE,
        )
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name is not None and f"{name}.".startswith(f"{missing.name}."):
            raise CommandError(
                f"cannot find {what}: there is no module {missing.name!r}",
                f"looked in {folder} and in the installed packages of {sys.executable}",
                "write it as `import` would: folder.module, not folder/module.py",
                exit_code=exits.USAGE,
            ) from None
        raise _broken(name, what, missing) from None
    except SystemExit as end:
        raise CommandError(
            f"cannot import {name!r} for {what}: it ended the program, with {end.code!r}",
            'what a module does as a program belongs below `if __name__ == "__main__":`',
        ) from None
    except Exception as error:  # noqa: BLE001 - the module is the user's code
        raise _broken(name, what, error) from None


def _broken(name: str, what: str, error: Exception) -> CommandError:
    text = "".join(traceback.format_exception(_without_importlib(error)))
    return CommandError(
        f"cannot import {name!r} for {what}: {type(error).__name__}: {error}", detail=text
    )


def _without_importlib(error: Exception) -> Exception:
    """From the user's module on."""
    frames = error.__traceback__
    while frames is not None and _is_ours(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    return error.with_traceback(frames)


def _is_ours(filename: str) -> bool:
    return filename in (__file__, importlib.__file__) or "importlib._bootstrap" in filename


def _configured() -> str | None:
    path = Path("pyproject.toml")
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # that of TOML, and of Unicode
        raise CommandError(
            f"cannot read {path.resolve()}: {error}",
            f"mend it, or name the broker with --broker or {VARIABLE}",
            exit_code=exits.USAGE,
        ) from None
    name: object = settings
    for key in ("tool", "actorq", "broker"):
        name = name.get(key) if isinstance(name, dict) else None
    if name is not None and not isinstance(name, str):
        raise CommandError(
            f'{path.resolve()}: tool.actorq.broker expects a string such as "module:broker"; '
            f"got {name!r}",
            exit_code=exits.USAGE,
        )
    return name
