"""The client's side of a command: the system of a broker, open for as long as one question takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

import trio

from actorq.actors.broker import Broker
from actorq.capability import Capability
from actorq.cli import exits
from actorq.cli.finding import find_broker
from actorq.cli.output import CommandError
from actorq.errors import ActorqError, EngineUnavailable, SystemFailed


if TYPE_CHECKING:
    from actorq.system import System

T = TypeVar("T")


def ask(broker: Broker | str | None, question: Callable[[System], Awaitable[T]]) -> T:
    """Open the broker's system as a client, ask it, close it; what *question* returns.

    *broker* may be what the user said of it.  Raises `CommandError` if other processes cannot see
    what is in it, and `EngineUnavailable`.
    """
    from actorq.system import open_system

    found = broker if isinstance(broker, Broker) else find_broker(broker)
    check_shared(found)

    async def main() -> T:
        async with open_system(found, role="client", grace=0.0) as sys:
            return await question(sys)

    try:
        return trio.run(main)
    except (SystemFailed, ExceptionGroup) as failed:
        for error in causes_of(failed):
            if isinstance(error, EngineUnavailable):
                raise error from None
        alone = _alone_in(failed)
        if isinstance(alone, ActorqError | OSError):
            raise alone from None
        raise


def check_shared(broker: Broker) -> None:
    """Refuse a broker whose queue lives in one process: there is nothing in this one's."""
    if Capability.SHARING in broker.lacks:
        name = type(broker).__name__
        raise CommandError(
            f"{name} keeps its queue in the process that opened it: no other process can look into it, "
            f"this one included",
            'use an engine that processes share, such as actorq.SQLiteBroker("queue.db"), or with '
            "actorq.broker_from_url() one on a server",
            exit_code=exits.USAGE,
        )


def _alone_in(error: Exception) -> BaseException:
    """What is in groups of one."""
    found: BaseException = error
    while isinstance(found, BaseExceptionGroup) and len(found.exceptions) == 1:
        (found,) = found.exceptions
    return found


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """*error* and all that it came from, what is in groups too."""
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for inner in error.exceptions:
                yield from causes_of(inner)
        error = error.__cause__
