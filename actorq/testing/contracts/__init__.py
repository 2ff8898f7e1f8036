"""Contracts: what every engine, result backend and schedule source must do, as suites to subclass."""

from actorq.testing.contracts.broker import BrokerContract
from actorq.testing.contracts.results import ResultBackendContract
from actorq.testing.contracts.schedules import ScheduleSourceContract


__all__ = ["BrokerContract", "ResultBackendContract", "ScheduleSourceContract"]
