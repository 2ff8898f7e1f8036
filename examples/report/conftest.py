"""How hard to try: Hypothesis' profile."""

import os

from hypothesis import settings


settings.register_profile("thorough", max_examples=2_000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
