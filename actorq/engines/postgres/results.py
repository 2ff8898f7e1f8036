"""`PostgresResultBackend`: results and progress in a PostgreSQL database."""

from __future__ import annotations

from actorq.engines.postgres.storage import PostgresStorage
from actorq.engines.remote.results import RemoteResultBackend
from actorq.engines.stored_result import A_WEEK


class PostgresResultBackend(RemoteResultBackend):
    """Keeps results in a PostgreSQL database, for every process that has it.

    *where*: the connection string, or the `PostgresStorage` that other parts share; a `PostgresBroker`
    keeps its results beside its queue without being told.  *ttl*: seconds that a result is kept,
    unless its task's `result_ttl` says otherwise (a week; None: for ever).  *max_stored_results*: the
    oldest go when there are more (None: all are kept).
    """

    def __init__(
        self,
        where: str | PostgresStorage = "postgresql://localhost/postgres",
        *,
        ttl: float | None = A_WEEK,
        max_stored_results: int | None = None,
    ) -> None:
        storage = where if isinstance(where, PostgresStorage) else PostgresStorage(where)
        super().__init__(storage, ttl=ttl, max_stored_results=max_stored_results)
