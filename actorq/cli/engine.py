"""What the storage of an engine can say of itself, if the engine has one: a file, or a server."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from actorq.actors.broker import Broker


if TYPE_CHECKING:
    from actorq.engines.remote.information import ServerInformation
    from actorq.engines.remote.storage import RemoteStorage
    from actorq.engines.sqlite.maintenance import FileInformation
    from actorq.engines.sqlite.storage import SQLiteStorage

    Information: TypeAlias = FileInformation | ServerInformation | None


def storage_of(broker: Broker) -> SQLiteStorage | None:
    """The file's storage; None for an engine without one."""
    from actorq.engines.sqlite.storage import SQLiteStorage

    storage = getattr(broker, "storage", None)
    return storage if isinstance(storage, SQLiteStorage) else None


def server_of(broker: Broker) -> RemoteStorage | None:
    """The server's storage; None for an engine without one."""
    from actorq.engines.remote.storage import RemoteStorage

    storage = getattr(broker, "storage", None)
    return storage if isinstance(storage, RemoteStorage) else None


async def information_of(broker: Broker) -> Information:
    """Of an open broker's file or server."""
    storage = storage_of(broker) or server_of(broker)
    return None if storage is None else await storage.information()


async def damage_of(broker: Broker) -> list[str] | None:
    """What is wrong with an open broker's file, which is read from end to end."""
    storage = storage_of(broker)
    return None if storage is None else await storage.check(thorough=True)


def path_of(broker: Broker) -> str:
    """Where everything is kept, from here if it is in here; empty for an engine without such a place."""
    server = server_of(broker)
    if server is not None:
        return str(server)
    storage = storage_of(broker)
    if storage is None:
        return ""
    with suppress(ValueError):  # it is somewhere else
        return str(storage.path.relative_to(Path.cwd()))
    return str(storage.path)
