"""What was enqueued: looking it up, and asserting it.

A list of all calls since the system's broker was opened first, whether they have run or not; by whom
ever: the test, a task, a chain, a schedule, `kiq()`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, overload

from actorq.errors import ArgumentsError, NotSerializable
from actorq.testing.ledger import Enqueued, call_of, ledger_of, task_name_of


if TYPE_CHECKING:
    from actorq.system import System
    from actorq.task import Task

#: pytest shows the reader's own lines, not ours; `--full-trace` shows all.
__tracebackhide__ = True

P = ParamSpec("P")

#: Calls that a failure message shows.
SHOWN = 20


def enqueued(
    sys: System, task: Task[..., Any] | str | None = None, /, *args: Any, **kwargs: Any
) -> list[Enqueued]:
    """The calls that were enqueued so far, the first one first: all, of one *task*, or like this one.

    With arguments: the calls with equal ones, by position or by name, defaults filled in;
    `unittest.mock.ANY` equals everything.  No checkpoint.  Raises `RuntimeError` if *sys* was not
    opened in virtual time, and `ArgumentsError` if *task* does not take such arguments.
    """
    ledger = ledger_of(sys, "enqueued()")
    calls = [call_of(sys, message) for message in ledger.messages]
    if task is None:
        return calls
    name = task_name_of(task, "enqueued()")
    wanted = sys.wiring.tasks.get(name) if isinstance(task, str) else task
    of_task = [call for call in calls if call.task_name == name]
    if not args and not kwargs:
        return of_task
    expected = _named(wanted, *_travelled(wanted, args, kwargs))
    return [call for call in of_task if _named(wanted, call.args, call.kwargs) == expected]


@overload
def assert_enqueued(
    sys: System, task: Task[P, Any], /, *args: P.args, **kwargs: P.kwargs
) -> Enqueued: ...
@overload
def assert_enqueued(sys: System, task: Task[..., Any], /) -> Enqueued: ...
def assert_enqueued(sys: System, task: Any, /, *args: Any, **kwargs: Any) -> Enqueued:
    """Assert that *task* was enqueued, with these arguments if there are any; the first such call.

    What was said of it is in the call: `assert assert_enqueued(sys, remind, 7).delay == 3600`.
    Arguments are compared as `enqueued` does.  No checkpoint.
    """
    ledger_of(sys, "assert_enqueued()")
    found = enqueued(sys, task, *args, **kwargs)
    if not found:
        name = task_name_of(task, "assert_enqueued()")
        wanted = f"{name}{_shown(args, kwargs)}"
        raise AssertionError(f"{wanted} was not enqueued{_instead(sys, name)}")
    return found[0]


def assert_not_enqueued(sys: System, task: Task[..., Any], /, *args: Any, **kwargs: Any) -> None:
    """Assert that *task* was not enqueued; not with these arguments, if there are any."""
    ledger_of(sys, "assert_not_enqueued()")
    found = enqueued(sys, task, *args, **kwargs)
    if found:
        times = "once" if len(found) == 1 else f"{len(found)} times"
        raise AssertionError(
            f"{task_name_of(task, 'assert_not_enqueued()')}{_shown(args, kwargs)} was enqueued "
            f"{times}:\n{_listed(found)}"
        )


@asynccontextmanager
async def hold(sys: System) -> AsyncIterator[None]:
    """Give no task to the workers for the body of `async with`; what runs goes on.

    Assert first, then let them run: `await drain(sys)` after it.  A result that is waited for inside
    never comes, which fails the test.  A checkpoint at the end.
    """
    ledger = ledger_of(sys, "hold()")
    if ledger.held:
        raise RuntimeError("hold() is in force already: leave the outer one first")
    ledger.held = True
    try:
        yield
    finally:
        ledger.held = False
    await sys.queue_statistics()  # any question: after it the broker looks whom it can serve


def _travelled(
    task: Task[..., Any] | None, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """As the arguments come out at the other end: a tuple may be a list there."""
    if task is None:
        return args, kwargs
    try:
        return task.signature.load(*task.signature.bind(args, kwargs, name=task.name))
    except (NotSerializable, ArgumentsError):
        return args, kwargs  # such as ANY; names and numbers that do not fit are found out later


def _named(task: Task[..., Any] | None, args: Sequence[Any], kwargs: dict[str, Any]) -> object:
    if task is None:
        return list(args), kwargs
    return task.signature.named_arguments(tuple(args), kwargs)


def _shown(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    if not args and not kwargs:
        return ""
    return f"({', '.join([*map(repr, args), *[f'{key}={kwargs[key]!r}' for key in kwargs]])})"


def _instead(sys: System, name: str) -> str:
    of_task = enqueued(sys, name)
    if of_task:
        return f"; it was as\n{_listed(of_task)}"
    others = enqueued(sys)
    return f"; what was:\n{_listed(others)}" if others else ": nothing was"


def _listed(calls: list[Enqueued]) -> str:
    lines = [f"  {call!r}" for call in calls[:SHOWN]]
    if len(calls) > SHOWN:
        lines.append(f"  and {len(calls) - SHOWN} more")
    return "\n".join(lines)
