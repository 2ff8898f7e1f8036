"""`RedisResultBackend`: results and progress on a Redis server."""

from __future__ import annotations

from actorq.engines.redis.storage import RedisStorage
from actorq.engines.remote.results import RemoteResultBackend
from actorq.engines.stored_result import A_WEEK


class RedisResultBackend(RemoteResultBackend):
    """Keeps results on a Redis server, for every process that reaches it.

    *where*: the server's URL (see `RedisStorage`), or the `RedisStorage` that other parts share; a
    `RedisBroker` keeps its results on its own server without being told.  *ttl*: seconds that a result
    is kept, unless its task's `result_ttl` says otherwise (a week; None: for ever).
    *max_stored_results*: the oldest go when there are more (None: all are kept); it is looked after at
    every hundredth part of that many, so there may be one per cent more.
    """

    def __init__(
        self,
        where: str | RedisStorage,
        *,
        ttl: float | None = A_WEEK,
        max_stored_results: int | None = None,
    ) -> None:
        storage = where if isinstance(where, RedisStorage) else RedisStorage(where)
        super().__init__(storage, ttl=ttl, max_stored_results=max_stored_results)
