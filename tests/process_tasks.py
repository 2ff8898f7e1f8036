"""Tasks that run in worker processes: in a module of their own, because those processes import it."""

from __future__ import annotations

import decimal
import logging
import os
import signal
import sys
from pathlib import Path

import actorq


log = logging.getLogger("shop.cart")


class Declared(Exception):
    """Named with `raises=`."""


class Undeclared(Exception):
    """Not named."""


def _tell(fifo: str) -> None:
    """Let the test go on, which waits for this process's id."""
    Path(fifo).write_text(f"{os.getpid()}\n")


@actorq.task(executor="process")
def where() -> int:
    """Which process this is."""
    return os.getpid()


@actorq.task(executor="process")
def add(a: decimal.Decimal, b: decimal.Decimal, *, times: int = 1) -> decimal.Decimal:
    """Values that only annotations bring back."""
    assert isinstance(a, decimal.Decimal)
    return (a + b) * times


@actorq.task(executor="process", raises=(Declared,))
def fail(how: str) -> None:
    """Raise something."""
    if how == "chain":
        try:
            raise KeyError("tea")
        except KeyError as error:
            raise ValueError("no tea") from error
    if how == "interrupt":
        raise KeyboardInterrupt
    raise {"declared": Declared, "undeclared": Undeclared}[how]("oh")


@actorq.task(executor="process", retries=actorq.RetryPolicy(retries=5, give_up_on=Undeclared))
def fail_for_good() -> None:
    """Raise what only the retry policy names."""
    raise Undeclared("oh")


@actorq.task(executor="process")
def die(how: str) -> None:
    """End the process."""
    if how == "exit":
        os._exit(3)
    if how == "sys.exit":
        sys.exit(4)
    os.kill(os.getpid(), getattr(signal, how))


@actorq.task(executor="process", retries=1)
def die_once(marker: str) -> str:
    """Killed the first time."""
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "second life"


@actorq.task(executor="process")
def spin(fifo: str) -> None:
    """Compute for ever."""
    if fifo:
        _tell(fifo)
    while True:
        pass


@actorq.task(executor="process", capture_logs=True)
def chat(fails: bool) -> None:
    """Log, and print."""
    log.warning("from process")
    log.error("no tea", extra={"open": open})  # nothing that pickle could carry
    if fails:
        raise ValueError("failed")


@actorq.task(executor="process")
def not_json() -> object:
    """Return what cannot travel."""
    return object()


async def _later() -> int:
    return 1


@actorq.task(executor="process")
def returns_coroutine() -> object:
    """A plain function, by its looks."""
    return _later()


def plain() -> str:
    """No task, but can be made one."""
    return "plain"


plain_task = actorq.task(executor="process")(plain)


def _shadowed() -> None:
    """Its name leads to another one."""


shadowed = actorq.task(executor="process")(_shadowed)


def _shadowed() -> None:  # type: ignore[no-redef]
    """The other one."""


@actorq.task(executor="process")
def needs_context(ctx: actorq.Context = actorq.Depends()) -> None:
    """Ask for what only the worker has."""
