"""Ours on a server: `RedisBroker` and `PostgresBroker`.  Their workers import this module for `broker`.

`default`: as they come, but for the concurrency.  Recovery: `brief` has a lease of 5 s instead of 30.
"""

from __future__ import annotations

import importlib
import os

import actorq
import adapters
import durable
from durable_actorq import Actorq, nap, noop


def make(url: str, setting: str) -> actorq.Broker:
    """A broker with these tasks."""
    lease = 5.0 if setting == "brief" else 30.0
    if url.startswith("redis"):
        return actorq.RedisBroker(url, lease=lease).register(noop, nap)
    return actorq.PostgresBroker(url, lease=lease).register(noop, nap)


if adapters.URL in os.environ:
    broker = make(adapters.here(), adapters.setting())


class OnServer(adapters.OnServer, Actorq):
    """The same on both; a broker's URL says which."""

    broker = "far_actorq:broker"

    def make(self) -> actorq.Broker:
        return make(self.url, self.setting)


class ActorqRedis(adapters.OnRedis, OnServer):
    """Results are fields of one hash."""

    def stored(self) -> int:
        return self.redis.count("HLEN", "{actorq}:results")


class ActorqPostgres(adapters.OnPostgres, OnServer):
    """Results are rows."""

    def stored(self) -> int:
        return self.count("select count(*) from actorq.results")


if __name__ == "__main__":
    # the module as its workers import it
    module = importlib.import_module("far_actorq")
    kinds = {"redis": module.ActorqRedis, "postgres": module.ActorqPostgres}
    durable.serve(
        {
            f"actorq_{name}_{setting}": kind(setting)
            for name, kind in kinds.items()
            for setting in ("default", "brief")
        }
    )
