"""`PostgresBroker`: the queue in a PostgreSQL database."""

from __future__ import annotations

from actorq.actors.result_backend import ResultBackend
from actorq.engines.postgres.results import PostgresResultBackend
from actorq.engines.postgres.schedules import PostgresScheduleSource
from actorq.engines.postgres.storage import PostgresStorage
from actorq.engines.postgres.transaction import InDatabase
from actorq.engines.remote.broker import RemoteBroker
from actorq.schedule_source import ScheduleSource


class PostgresBroker(InDatabase, RemoteBroker):
    """Keeps the queue in a PostgreSQL database, for any number of processes and machines.

    *conninfo*: as libpq knows it, a `postgresql://` URL or `host=... dbname=...`; *schema*, *recheck*,
    *timeout*: see `PostgresStorage`; *storage*: one that is shared, in place of these.  *lease*: seconds
    after which a worker that is not heard of any more has lost its tasks.
    """

    storage: PostgresStorage  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(
        self,
        conninfo: str = "postgresql://localhost/postgres",
        *,
        schema: str = "actorq",
        lease: float = 30.0,
        recheck: float = 1.0,
        timeout: float = 10.0,
        storage: PostgresStorage | None = None,
    ) -> None:
        if storage is None:
            storage = PostgresStorage(conninfo, schema=schema, recheck=recheck, timeout=timeout)
        InDatabase.__init__(self)
        RemoteBroker.__init__(self, storage, lease=lease)

    def default_result_backend(self) -> ResultBackend:
        """In the same schema, for a week."""
        return PostgresResultBackend(self.storage)

    def default_schedule_source(self) -> ScheduleSource:
        """In the same schema."""
        return PostgresScheduleSource(self.storage)
