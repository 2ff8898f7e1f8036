"""Real servers for the tests: private Redis and PostgreSQL processes, and a proxy.

Other versions than the installed ones are tried with two environment variables:

* `ACTORQ_TEST_POSTGRES_BIN=/opt/postgresql-18/bin`: the folder of `postgres` and `initdb`;
* `ACTORQ_TEST_REDIS_SERVER=/opt/valkey/bin/valkey-server`: a Redis server, or a relative of it.
"""

from __future__ import annotations

from servers.postgres import PostgresServer
from servers.process import NotInstalled, Server
from servers.proxy import Proxy
from servers.redis import RedisServer


__all__ = ["NotInstalled", "PostgresServer", "Proxy", "RedisServer", "Server"]
