"""`PostgresScheduleSource`: schedules in a PostgreSQL database."""

from __future__ import annotations

from actorq.engines.postgres.storage import PostgresStorage
from actorq.engines.remote.schedules import RemoteScheduleSource


class PostgresScheduleSource(RemoteScheduleSource):
    """Keeps schedules in a PostgreSQL database, for any number of schedulers in any processes.

    *where*: the connection string, or the `PostgresStorage` that other parts share; a `PostgresBroker`
    keeps its schedules beside its queue without being told.
    """

    def __init__(self, where: str | PostgresStorage = "postgresql://localhost/postgres") -> None:
        super().__init__(where if isinstance(where, PostgresStorage) else PostgresStorage(where))
