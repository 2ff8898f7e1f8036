"""Real servers for the tests: private Redis and PostgreSQL processes, and a proxy."""

from __future__ import annotations

from servers.postgres import PostgresServer
from servers.process import NotInstalled, Server
from servers.proxy import Proxy
from servers.redis import RedisServer


__all__ = ["NotInstalled", "PostgresServer", "Proxy", "RedisServer", "Server"]
