"""Test configuration: Hypothesis profiles, and no leftovers between tests."""

from __future__ import annotations

import logging
import os

from hypothesis import HealthCheck, Phase, settings


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
    "mutation", parent=settings.get_profile("actorq"), phases=[Phase.explicit, Phase.generate]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "actorq"))

# Crash loops are what these tests are about: thousands of log lines that nobody reads.  A test that
# reads them says `caplog.set_level("INFO", logger="actorq")`.
logging.getLogger("actorq").setLevel(logging.CRITICAL)
