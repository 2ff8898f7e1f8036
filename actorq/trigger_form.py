"""Triggers as plain data and back: what a schedule source outside the process keeps of them.

An object with `kind` ("every", "cron" or "at"), the rhythm and the policies.  Not the arguments:
those stand in the schedule's call, as the queue gets them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from actorq import crontab
from actorq.errors import EnvelopeError, NotSerializable, OptionError
from actorq.fields import Fields
from actorq.schedule import At, Cron, Every, Trigger


_POLICIES = ("name", "catch_up", "overlap", "jitter")


def dump_trigger(trigger: Trigger) -> dict[str, Any]:
    """Plain data that JSON can carry.  `NotSerializable` for a trigger class of one's own."""
    kind = type(trigger)
    if kind is Every:
        rhythm = {"kind": "every", "period": trigger.period}  # type: ignore[attr-defined]
    elif kind is Cron:
        rhythm = _dump_cron(trigger)  # type: ignore[arg-type]
    elif kind is At:
        rhythm = _dump_at(trigger)  # type: ignore[arg-type]
    else:
        raise NotSerializable(
            f"a trigger of class {kind.__qualname__} cannot be stored, for nobody else knows its "
            f"slots; use every(), cron() or at(), or keep it in an InMemoryScheduleSource"
        )
    return {
        **rhythm,
        "name": trigger.name,
        "catch_up": None if trigger.catch_up is None else trigger.catch_up.value,
        "overlap": trigger.overlap.value,
        "jitter": trigger.jitter,
    }


def _dump_cron(trigger: Cron) -> dict[str, Any]:
    return {"kind": "cron", "expression": trigger.expression, "tz": _dump_zone(trigger.tz)}


def _dump_at(trigger: At) -> dict[str, Any]:
    when = trigger.when
    assert when.tzinfo is not None
    return {"kind": "at", "when": when.isoformat(), "tz": _dump_zone(when.tzinfo)}


def _dump_zone(zone: tzinfo) -> str | float:
    """The name of a zone; of a fixed offset, its seconds east of UTC."""
    if zone is UTC:
        return "UTC"
    if isinstance(zone, ZoneInfo) and zone.key:
        return zone.key
    if isinstance(zone, timezone):
        return zone.utcoffset(None).total_seconds()
    raise NotSerializable(
        f"the time zone {zone!r} cannot be stored: it has no name that others know; use "
        f"ZoneInfo('Europe/Berlin'), UTC or a datetime.timezone"
    )


def load_trigger(data: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Trigger:
    """The inverse of `dump_trigger`; `EnvelopeError` that names what is wrong."""
    what = "a schedule's trigger"
    kind = data.get("kind") if isinstance(data, dict) else None
    found = _KINDS.get(kind) if isinstance(kind, str) else None
    if found is None:
        raise EnvelopeError(f"{what} needs a 'kind' of {sorted(_KINDS)}; got {data!r}")
    names, load = found
    fields = Fields(data, what, ["kind", *names, *_POLICIES])
    policies = {
        "name": fields.text_or_none("name"),
        "catch_up": fields.text_or_none("catch_up"),
        "overlap": fields.text("overlap"),
        "jitter": fields.number("jitter"),
    }
    try:
        return load(fields, {**policies, "args": args, "kwargs": kwargs})
    except OptionError as error:
        raise EnvelopeError(f"{what}: {error}") from error


def _load_every(fields: Fields, rest: dict[str, Any]) -> Trigger:
    return Every(fields.number("period"), **rest)


def _load_cron(fields: Fields, rest: dict[str, Any]) -> Trigger:
    return Cron(fields.text("expression"), _load_zone(fields), **rest)


def _load_at(fields: Fields, rest: dict[str, Any]) -> Trigger:
    try:
        when = datetime.fromisoformat(fields.text("when"))
    except ValueError:
        fields.refuse("when", "a date and time such as '2024-01-31T08:00:00+01:00'")
    if when.utcoffset() is None:
        fields.refuse("when", "a date and time with its offset from UTC")
    return At(_in_zone(when, _load_zone(fields)), **rest)


def _in_zone(when: datetime, zone: tzinfo) -> datetime:
    """As it was said, where the zone's clock is set back or forward too."""
    for fold in (0, 1):
        said = when.replace(tzinfo=zone, fold=fold)
        if said.utcoffset() == when.utcoffset():
            return said
    return when.astimezone(zone)  # the zone has changed its rules since


def _load_zone(fields: Fields) -> tzinfo:
    value = fields.any("tz")
    if isinstance(value, str):
        return crontab.zone(value)
    seconds = fields.number("tz")
    if not -86400 < seconds < 86400:
        fields.refuse("tz", "the name of a zone, or seconds east of UTC, less than a day")
    return timezone(timedelta(seconds=seconds)) if seconds else UTC


_KINDS: dict[str, tuple[tuple[str, ...], Callable[[Fields, dict[str, Any]], Trigger]]] = {
    "every": (("period",), _load_every),
    "cron": (("expression", "tz"), _load_cron),
    "at": (("when", "tz"), _load_at),
}
