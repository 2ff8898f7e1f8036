"""The pytest plugin by its older name, for `-p actorq.testing.plugin` where no entry point is installed.

What it does stands in `actorq_pytest`, outside of this package: pytest loads it in every project.
"""

from actorq_pytest import (
    actorq_broker,
    actorq_system,
    pytest_addoption,
    pytest_configure,
    pytest_runtest_setup,
)


__all__ = [
    "actorq_broker",
    "actorq_system",
    "pytest_addoption",
    "pytest_configure",
    "pytest_runtest_setup",
]
