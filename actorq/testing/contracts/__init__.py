"""Contracts: what every engine, result backend and schedule source must do, as suites to subclass."""

from actorq.testing.contracts.broker import BrokerContract
from actorq.testing.contracts.results import ResultBackendContract


__all__ = ["BrokerContract", "ResultBackendContract"]
