"""`RedisScheduleSource`: schedules on a Redis server."""

from __future__ import annotations

from actorq.engines.redis.storage import RedisStorage
from actorq.engines.remote.schedules import RemoteScheduleSource


class RedisScheduleSource(RemoteScheduleSource):
    """Keeps schedules on a Redis server, for any number of schedulers in any processes.

    *where*: the server's URL (see `RedisStorage`), or the `RedisStorage` that other parts share; a
    `RedisBroker` keeps its schedules on its own server without being told.
    """

    def __init__(self, where: str | RedisStorage) -> None:
        super().__init__(where if isinstance(where, RedisStorage) else RedisStorage(where))
