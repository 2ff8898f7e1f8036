"""Test configuration: Hypothesis profiles, and no leftovers between tests."""

from __future__ import annotations

import logging
import os
import signal
from importlib.metadata import entry_points

import pytest
from hypothesis import HealthCheck, Phase, settings

from promised import promises_in
from servers.fixtures import (  # noqa: F401 - pytest finds them here
    namespace,
    postgres_server,
    redis_server,
    through_proxy,
)


# A checkout that was installed before this plugin was written does not have its entry point.
if not any(each.name == "actorq" for each in entry_points(group="pytest11")):
    pytest_plugins = ["actorq.testing.plugin"]


settings.register_profile(
    "actorq",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
    # CI says whether a change broke something: the same examples each time.  New ones are looked for
    # at the desk, and at night with the thorough profile.
    derandomize=bool(os.environ.get("CI")),
)
settings.register_profile("thorough", parent=settings.get_profile("actorq"), max_examples=2_000)
settings.register_profile(  # for a kernel that is broken on purpose: fail soon, shrink nothing
    "mutation",
    parent=settings.get_profile("actorq"),
    phases=[Phase.explicit, Phase.generate],
    derandomize=True,  # caught once, caught always
    database=None,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "actorq"))

# A shell that starts us in the background has SIGINT ignored, and whoever we start inherits that: a test
# that presses Ctrl-C in a program would wait for its end for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Crash loops are what these tests are about: thousands of log lines that nobody reads.  A test that
# reads them says `caplog.set_level("INFO", logger="actorq")`.
logging.getLogger("actorq").setLevel(logging.CRITICAL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Our convention: a test's docstring begins with the promises that it is about."""
    for item in items:
        if isinstance(item, pytest.Function):
            docstring = item.function.__doc__
            if item.cls is not None and item.name == "runTest":  # a state machine
                docstring = item.cls.__doc__
            if promises := promises_in(docstring):
                item.add_marker(pytest.mark.promise(*promises))
