"""Evidence: what one run of the tests left behind, test by test.

Plain values, so that they travel from pytest-xdist's workers, and from one run to the next, as JSON.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import sys
from enum import Enum

import attrs

from actorq.testing.tally import Trial


class Outcome(Enum):
    """How a test ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    XFAILED = "xfailed"  #: it failed, as its mark says that it would


@attrs.frozen
class TestRun:
    """One test, and how much it tried."""

    __test__ = False  # to pytest: this is no test class

    test: str  #: pytest's node id
    outcome: Outcome = Outcome.PASSED
    reason: str = ""  #: why it was skipped, or the last line of its failure
    seconds: float = 0.0  #: on a real clock
    #: What it is about: numbers of actorq's promises, or the reader's own words.
    promises: tuple[str, ...] = ()
    examples: int = 1  #: that Hypothesis ran; of a test without Hypothesis, its one run
    simulations: int = 0
    virtual_seconds: float = 0.0
    crash_points: int = 0
    trials: tuple[Trial, ...] = ()  #: of mutants


@attrs.frozen
class Setting:
    """Where and how the tests ran."""

    date: str  #: YYYY-MM-DD, UTC
    versions: dict[str, str]
    platform: str
    profile: str  #: of Hypothesis
    command: str = ""  #: what to type to have this again

    @classmethod
    def now(cls, *, command: str = "") -> Setting:
        """This process."""
        names = ("actorq", "trio", "hypothesis", "pytest")
        versions = {"Python": platform.python_version()}
        for name in names:
            try:
                versions[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
        return cls(
            date=datetime.datetime.now(datetime.UTC).date().isoformat(),
            versions=versions,
            platform=f"{platform.system()} {platform.machine()}",
            profile=_profile(),
            command=command,
        )


def _profile() -> str:
    """Hypothesis' profile in force, and what it means."""
    if "hypothesis" not in sys.modules:
        return "none: Hypothesis was not used"
    from hypothesis import settings

    name = getattr(settings, "_current_profile", None) or "default"
    same = "the same each time" if settings().derandomize else "new ones each time"
    return f"{name} ({settings().max_examples} examples of a property unless it says so, {same})"


@attrs.frozen
class Evidence:
    """All of it."""

    setting: Setting
    runs: tuple[TestRun, ...]
    #: What is to be shown, if the project says so: key and text.
    expected: dict[str, str] = attrs.field(factory=dict)
    uncollected: tuple[str, ...] = ()  #: files that could not be read
    deselected: int = 0  #: tests that were left out by -k, -m and the like
    unrun: int = 0  #: tests that the run did not get to, after -x for example
    seconds: float = 0.0  #: that the whole run took
    exit_status: int = 0  #: pytest's own
