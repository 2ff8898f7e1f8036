"""`RedisBroker`: the queue on a Redis server, for every process that reaches it."""

from __future__ import annotations

import ssl
from typing import Final

from actorq.actors.result_backend import ResultBackend
from actorq.engines.redis.results import RedisResultBackend
from actorq.engines.redis.schedules import RedisScheduleSource
from actorq.engines.redis.storage import RedisStorage
from actorq.engines.remote.broker import RemoteBroker
from actorq.schedule_source import ScheduleSource


HERE: Final = "redis://localhost:6379/0"


class RedisBroker(RemoteBroker):
    """Keeps the queue on the Redis server at *url*, for all processes that reach it.

    Its results and schedules are kept there, too, unless `with_result_backend` or `with_schedule_source`
    say otherwise.  What survives what, says the server's configuration: with ``appendonly yes`` a crash
    of the server costs the last second or two.  *url*: see `RedisStorage`; this machine's unless told.
    *namespace*: stands before each key.  *lease*: seconds without a sign of life after which a worker's
    jobs are given to others.  *recheck*: seconds after which what other processes did is seen, should
    the word of it be lost.  *timeout*: seconds that a call may take, trying again included.  *storage*:
    one that other parts share, instead of all but *lease*.

    It connects when a system opens; `EngineUnavailable` says why that cannot be.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        namespace: str = "actorq",
        lease: float = 30.0,
        recheck: float = 1.0,
        timeout: float = 10.0,
        ssl_context: ssl.SSLContext | None = None,
        storage: RedisStorage | None = None,
    ) -> None:
        if url is not None and storage is not None:
            raise TypeError("RedisBroker expects a URL, or storage=RedisStorage(...); not both")
        if storage is None:
            storage = RedisStorage(
                HERE if url is None else url,
                namespace=namespace,
                recheck=recheck,
                timeout=timeout,
                ssl_context=ssl_context,
            )
        elif not isinstance(storage, RedisStorage):
            raise TypeError(f"storage expects a RedisStorage(url); got {storage!r}")
        self._redis = storage
        super().__init__(storage, lease=lease)

    def default_result_backend(self) -> ResultBackend:
        """On the same server, for a week."""
        return RedisResultBackend(self._redis)

    def default_schedule_source(self) -> ScheduleSource:
        """On the same server."""
        return RedisScheduleSource(self._redis)
