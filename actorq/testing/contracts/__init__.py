"""Contracts: what every engine, result backend and schedule source must do, as suites to subclass."""
