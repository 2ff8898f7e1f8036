"""Contracts: what every engine, result backend and schedule source must do, as suites to subclass."""

from actorq.testing.contracts.broker import BrokerContract


__all__ = ["BrokerContract"]
