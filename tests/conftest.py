"""Test configuration: Hypothesis profiles, and no leftovers between tests."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings


settings.register_profile(
    "actorq", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile("thorough", parent=settings.get_profile("actorq"), max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "actorq"))
