"""A contract: tests that pytest collects in a subclass, and that can be run without pytest too.

Each test is a plain method that names its promises with `promised`; what the subject declares that it
lacks is skipped by name.
"""

from __future__ import annotations

import functools
import inspect
import shutil
import tempfile
import unittest
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import attrs

from actorq.capability import Capability
from actorq.testing.promises import PROMISES, PromiseBroken


F = TypeVar("F", bound=Callable[..., None])


class Contract:
    """Subclass one of the contracts: `class TestMine(BrokerContract): factory = MyBroker`.

    *factory* makes the subject.  If it needs an argument, that is an empty folder of the test's own,
    as a `pathlib.Path`; called again with the same folder, it makes what another process would have on
    the same storage.
    """

    factory: Callable[..., Any]
    _kind: ClassVar[type] = object  #: of what it makes

    @classmethod
    def make(cls, folder: Path) -> Any:
        """A new subject on the storage in *folder*."""
        factory: Any = inspect.getattr_static(cls, "factory", None)
        if isinstance(factory, staticmethod | classmethod):
            factory = factory.__func__
        if not callable(factory):
            raise TypeError(
                f"{cls.__name__} needs a class attribute that says how to make what it tests: "
                f"`factory = MyBroker`; got {factory!r}"
            )
        made = factory(folder) if cls.takes_folder(factory) else factory()
        if not isinstance(made, cls._kind):
            raise TypeError(
                f"{cls.__name__} tests a {cls._kind.__name__}, and its factory made {made!r}: write "
                f"`factory = MyClass`, a subclass of {cls._kind.__name__}, or a function that makes one"
            )
        return made

    @staticmethod
    def takes_folder(factory: Callable[..., Any]) -> bool:
        """Whether *factory* wants the folder; what it can do without is its own."""
        try:
            parameters = inspect.signature(factory).parameters.values()
        except ValueError:  # a builtin that does not tell
            return False
        return any(
            each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
            and each.default is each.empty
            for each in parameters
        )

    @classmethod
    def lacks(cls) -> Collection[Capability]:
        """What the subject declares that it lacks."""
        with new_folder() as folder:
            return getattr(cls.make(folder), "lacks", frozenset())

    @classmethod
    def checks(cls) -> dict[str, Callable[..., None]]:
        """All of them, by name, in the order in which they are written."""
        found: dict[str, Callable[..., None]] = {}
        for kind in reversed(cls.__mro__):
            for name in vars(kind):
                if name.startswith("test_"):
                    found[name] = getattr(cls, name)
        return found


def promised(*promises: int, needs: Collection[Capability] = ()) -> Callable[[F], F]:
    """Name the promises that a test is about, and what it needs of the subject.

    Skipped, saying so, if the subject lacks one of *needs*.  A failure is noted as a broken promise.
    """

    def decorate(test: F) -> F:
        @functools.wraps(test)
        def checked(self: Contract, *args: Any, **kwargs: Any) -> None:
            missing = sorted([each.value for each in {*needs} & {*self.lacks()}] if needs else [])
            if missing:
                what = getattr(self.make, "__self__", type(self)).__name__
                raise unittest.SkipTest(f"{what}: declared as lacking: {', '.join(missing)}")
            try:
                test(self, *args, **kwargs)
            except PromiseBroken:  # says which
                raise
            except Exception as error:
                for number in promises:
                    error.add_note(f"promise {number}: {PROMISES[number]}")
                raise

        checked.promises = frozenset(promises)  # type: ignore[attr-defined]
        checked.needs = frozenset(needs)  # type: ignore[attr-defined]
        return checked  # type: ignore[return-value]

    return decorate


@contextmanager
def new_folder() -> Iterator[Path]:
    """An empty folder for a storage, removed afterwards."""
    # not TemporaryDirectory, which complains if a program that was torn is collected before its end
    folder = tempfile.mkdtemp(prefix="actorq-")
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@attrs.frozen
class Failure:
    """A test of a contract that failed."""

    test: str
    promises: frozenset[int]  #: that are broken
    error: BaseException


def run_contract(
    contract: type[Contract],
    factory: Callable[..., Any],
    *,
    promise: int | None = None,
) -> Iterator[Failure]:
    """Run *contract* on what *factory* makes, without pytest; the failures as they come.

    With *promise*: only the tests that may show that it is broken, those of it alone first.
    """
    made = type(contract.__name__, (contract,), {"factory": staticmethod(factory)})
    subject = cast("type[Contract]", made)
    tests = {
        name: test
        for name, test in subject.checks().items()
        if promise is None or promise in getattr(test, "promises", PROMISES)
    }
    for name in sorted(tests, key=lambda name: len(getattr(tests[name], "promises", PROMISES))):
        try:
            tests[name](subject())
        except unittest.SkipTest:
            continue
        except Exception as error:  # noqa: BLE001 - whatever it is, the contract is not kept
            promises = getattr(tests[name], "promises", frozenset(PROMISES))
            if isinstance(error, PromiseBroken):
                promises = frozenset({error.promise})
            yield Failure(name, promises, error)
