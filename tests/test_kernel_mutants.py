"""The tests of the kernel's promises, tested: each notices a kernel that breaks its promise."""

from __future__ import annotations

import importlib
import inspect
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import is_hypothesis_test, settings

from actorq.testing.tally import TALLY, Trial
from kernel_mutants import MUTANTS, KernelMutant
from promised import promises_in


SEMANTICS = Path(__file__).parent / "semantics"
#: The files that prove the kernel's promises.
FILES = ["mailbox", "ask", "restart", "shutdown", "queue"]

Test = Callable[..., None]


def proofs_of(promise: int) -> Iterator[tuple[str, Test]]:
    """Those whose docstring begins with it, by name; those about nothing else first."""
    found: list[tuple[int, str, Test]] = []
    for file in FILES:
        module = importlib.import_module(f"semantics.test_{file}")
        for name, value in vars(module).items():
            if name.startswith("test_") and not inspect.iscoroutinefunction(value):
                promises = promises_in(value.__doc__)
                if promise in promises:
                    found.append((len(promises), f"test_{file}.{name}", value))
    for _, name, test in sorted(found, key=lambda each: each[0]):
        yield name, test


def cases_of(test: Test) -> Iterator[dict[str, Any]]:
    """The arguments with which `pytest.mark.parametrize` has it called."""
    axes = []
    for mark in getattr(test, "pytestmark", ()):
        if mark.name == "parametrize":
            names, rows = mark.args
            names = names.split(",") if isinstance(names, str) else list(names)
            names = [name.strip() for name in names]
            axes.append(
                [dict(zip(names, [row] if len(names) == 1 else row, strict=True)) for row in rows]
            )
    for choice in itertools.product(*axes):
        yield {name: value for each in choice for name, value in each.items()}


@contextmanager
def examples_of(test: Test, **changed: Any) -> Iterator[None]:
    """Have Hypothesis draw as the profile "mutation" says, but for *changed*."""
    if not is_hypothesis_test(test):
        yield
        return
    chosen: Any = test
    before = chosen._hypothesis_internal_use_settings
    profile = settings.get_profile("mutation")
    chosen._hypothesis_internal_use_settings = settings(profile, **changed)
    try:
        yield
    finally:
        chosen._hypothesis_internal_use_settings = before


def fails(test: Test, caplog: pytest.LogCaptureFixture) -> bool:
    """Whether it does, in any of its cases."""
    fixtures = {"caplog": caplog} if "caplog" in inspect.signature(test).parameters else {}
    for case in cases_of(test):
        caplog.clear()
        try:
            test(**case, **fixtures)
        except (Exception, pytest.fail.Exception):
            return True
    return False


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_broken_kernel_is_noticed(mutant: KernelMutant, caplog: pytest.LogCaptureFixture) -> None:
    """By a test that names the promise that it breaks."""
    caught_by = None
    with TALLY.aside(), pytest.MonkeyPatch.context() as patch:
        mutant.apply(patch)
        for name, test in proofs_of(mutant.promise):
            with examples_of(test):
                if fails(test, caplog):
                    caught_by = name
                    break
    TALLY.mutants.append(Trial(mutant.name, mutant.promise, mutant.breaks, caught_by))
    assert caught_by is not None


def test_no_mutant_is_noticed_where_there_is_none(caplog: pytest.LogCaptureFixture) -> None:
    """The way in which the tests are called here makes none of them fail."""
    for promise in sorted({mutant.promise for mutant in MUTANTS}):
        for name, test in proofs_of(promise):
            with TALLY.aside(), examples_of(test, max_examples=3):
                assert not fails(test, caplog), name


def test_every_promise_of_the_kernel_has_a_mutant() -> None:
    """Those of the queue have theirs in `actorq.testing.mutants`."""
    assert {mutant.promise for mutant in MUTANTS} == {*range(1, 28), *range(45, 55)}
