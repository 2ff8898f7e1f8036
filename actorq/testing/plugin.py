"""The pytest plugin: loaded by itself where actorq is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorq.testing.report import collecting


if TYPE_CHECKING:
    import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Its options."""
    collecting.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Its marks, and what its options ask for."""
    collecting.configure(config)
