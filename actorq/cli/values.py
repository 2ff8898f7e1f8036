"""What is said on a command line: arguments of tasks, durations, moments."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import click


_UNITS: Final = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|[dhms])")


class _Duration(click.ParamType[float]):
    """Seconds, or with units: `90`, `1.5`, `5m`, `1h30m`, `250ms`."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if not isinstance(value, str):
            return float(value)
        text = value.strip()
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return float(text)
        if not text or _PART.sub("", text):
            self.fail(f"{value!r} is no duration: write seconds, or 5m, 1h30m, 250ms", param, ctx)
        return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


class _Moment(click.ParamType[datetime]):
    """An ISO time; without a zone it is this machine's."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return datetime.fromisoformat(value).astimezone()
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is no time: write 2026-11-21T14:30, with +01:00 or Z for another zone "
                f"than this machine's",
                param,
                ctx,
            )


DURATION: Final = _Duration()
MOMENT: Final = _Moment()


def read_value(said: str) -> Any:
    """A JSON value; whatever is none is a string: `2`, `"2"`, `[1, 2]`, `true`, `hello`."""
    try:
        return json.loads(said)
    except ValueError:
        return said
    except RecursionError:
        raise click.BadParameter("too many brackets in one another", param_hint="--arg") from None


def read_arguments(
    args: Sequence[str], kwargs: Sequence[str]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What `--arg` and `--kwarg` said; a usage error for a `--kwarg` without a name."""
    named: dict[str, Any] = {}
    for said in kwargs:
        name, equals, value = said.partition("=")
        if not equals or not name.isidentifier():
            raise click.BadParameter(f"{said!r} is not name=value", param_hint="--kwarg")
        named[name] = read_value(value)
    return tuple([read_value(said) for said in args]), named


def call_text(name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> str:
    """How a call was understood: `tasks:add(2, "x", quick=true)`."""
    said = [_text(value) for value in args]
    said += [f"{key}={_text(value)}" for key, value in kwargs.items()]
    return f"{name}({', '.join(said)})"


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=repr)


def argument_options(function: Any) -> Any:
    """Give a command `--arg` and `--kwarg`: its function gets `args` and `kwargs` as they were said."""
    function = click.option(
        "--kwarg",
        "kwargs",
        multiple=True,
        metavar="NAME=VALUE",
        help="A keyword argument; the value as for --arg.",
    )(function)
    return click.option(
        "--arg",
        "args",
        multiple=True,
        metavar="VALUE",
        help="A positional argument, in JSON; what is no JSON is a string: 2, '\"2\"', [1,2], hello.",
    )(function)
