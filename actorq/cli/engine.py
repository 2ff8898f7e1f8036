"""What an engine can say of itself, if it can: SQLite's storage does."""

from __future__ import annotations

from typing import Any

from actorq.actors.broker import Broker


async def information_of(broker: Broker) -> Any:
    """`storage.information()` of an open broker; None where there is none."""
    storage = getattr(broker, "storage", None)
    ask = getattr(storage, "information", None)
    return None if ask is None else await ask()


async def damage_of(broker: Broker) -> list[str] | None:
    """What `storage.check()` finds wrong with an open broker's file; None where there is no check."""
    storage = getattr(broker, "storage", None)
    check = getattr(storage, "check", None)
    return None if check is None else [str(each) for each in await check()]


def path_of(broker: Broker) -> str:
    """The file that an engine keeps everything in; empty where there is none."""
    return str(getattr(getattr(broker, "storage", None), "path", ""))
