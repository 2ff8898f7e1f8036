"""The resolver: makes what a task depends on, calls it, and cleans up, for one attempt.

All of it happens in the attempt's own Trio task, one dependency after the other.  Each has its clean-up
behind it from the moment it is entered: in reverse order, whether the function returns, raises, is
cancelled or runs out of time.

Clean-up is shielded, for `grace` seconds at most.  The scope that does it is opened before the first
dependency: were it opened later, it would stand inside a nursery or a cancel scope that a dependency
holds open, and could not be closed after it.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import attrs
import trio

from actorq.context import Context
from actorq.dependency_graph import CONTEXT, Kind, Recipe, Step
from actorq.errors import NoResult, TaskTimeout


log = logging.getLogger("actorq.dependencies")

_Call = Callable[[dict[str, Any]], Awaitable[Any]]


async def call_with_dependencies(
    recipe: Recipe, context: Context, grace: float, call: _Call
) -> Any:
    """Call with the values that *recipe* makes; what *call* returns, once they are cleaned up.

    Raises what a dependency or *call* raises.  If the clean-up of a success fails, that; if the clean-up
    of a failure fails, it is logged and the failure stands, unless it was raised from that very failure:
    then it is its translation.
    """
    if not recipe.opens:
        return await call(await _resolved(recipe, context, []))
    entered: list[_Entered] = []
    value: Any = None
    done: NoResult | None = None
    ended: BaseException | None = None
    with trio.CancelScope() as scope:
        try:
            value = await call(await _resolved(recipe, context, entered))
        except NoResult as said:
            done = said  # done is done: its dependencies have nothing to undo
        except BaseException as error:  # noqa: BLE001 - it is raised below, after the clean-up
            ended = error
        if entered:
            ended = await _clean_up(entered, ended, scope, grace)
    surfaces = done if ended is None else ended
    if surfaces is None:
        return value
    try:
        raise surfaces
    finally:
        del surfaces, ended, done  # their tracebacks have this frame


async def _resolved(recipe: Recipe, context: Context, entered: list[_Entered]) -> dict[str, Any]:
    values = list(recipe.constants)
    values[CONTEXT] = context
    for step in recipe.steps:
        given = {name: values[place] for name, place in step.arguments}
        value = step.call(**given)
        if step.kind is Kind.CALL:
            if inspect.iscoroutine(value):
                value = await value
        else:
            value = await _enter(step, value, entered)
        values[step.place] = value
    return {name: values[place] for name, place in recipe.parameters}


# --- what is cleaned up ---------------------------------------------------------------------------


@attrs.frozen
class _Entered:
    """A dependency with its clean-up ahead."""

    step: Step
    manager: Any  #: the context manager
    is_async: bool


async def _enter(step: Step, made: Any, entered: list[_Entered]) -> Any:
    if inspect.isasyncgen(made):  # a decorator has hidden what its function is
        made = asynccontextmanager(lambda: made)()
    elif inspect.isgenerator(made):
        made = contextmanager(lambda: made)()
    is_async = hasattr(made, "__aenter__")
    if not is_async and not hasattr(made, "__enter__"):
        return made
    value = await made.__aenter__() if is_async else made.__enter__()
    entered.append(_Entered(step, made, is_async))
    return value


async def _clean_up(
    entered: list[_Entered], ended: BaseException | None, scope: trio.CancelScope, grace: float
) -> BaseException | None:
    """Leave all of them, the last one first; how the attempt has ended after that."""
    if any(one.is_async for one in entered):  # the others do not await
        scope.shield = True
        scope.deadline = trio.current_time() + grace
    while entered:
        one = entered.pop()
        try:
            swallowed = await _leave(one, ended)
        except BaseException as raised:  # noqa: BLE001 - the caller raises what is to be raised
            if ended is None:
                ended = _unless_late(one, raised, scope, grace)
            else:
                ended = _weighed(one, ended, raised, scope)
        else:
            if swallowed and _is_cancelled(ended) and not _is_cancelled_from_outside(scope):
                ended = RuntimeError(
                    f"the dependency {one.step.title} cancelled the task that it served, and caught "
                    f"that: there is no result; let it raise (trio.fail_after, not move_on_after)"
                )
    return ended


async def _leave(one: _Entered, ended: BaseException | None) -> bool:
    """Clean up behind one; True if it wants *ended* to be forgotten, which nobody may want."""
    told = (None, None, None) if ended is None else (type(ended), ended, ended.__traceback__)
    left = one.manager.__aexit__(*told) if one.is_async else one.manager.__exit__(*told)
    return bool(await left if one.is_async else left)


def _unless_late(
    one: _Entered, raised: BaseException, scope: trio.CancelScope, grace: float
) -> BaseException:
    """The task had succeeded, and then *raised* came."""
    if scope.cancel_called and _is_cancelled(raised):
        return TaskTimeout(f"the clean-up of {one.step.title} took longer than {grace:g} s")
    return raised


def _weighed(
    one: _Entered, ended: BaseException, raised: BaseException, scope: trio.CancelScope
) -> BaseException:
    """Which of two failures is the attempt's: its own, or *raised* by a clean-up after it."""
    if _is_only(raised, ended):
        return ended
    if _has(raised, (KeyboardInterrupt, SystemExit)):
        return raised
    if _is_cancelled(ended):
        if not _is_cancelled(raised) and not _is_cancelled_from_outside(scope):
            return raised  # the dependency itself had cancelled the task, and says why
    elif raised.__cause__ is ended:
        return raised
    log.error(
        "the clean-up of %s failed, after the task had failed",
        one.step.title,
        exc_info=raised,
    )
    return ended


def _is_only(raised: BaseException, ended: BaseException) -> bool:
    """Whether it is the same again, as it is or as a nursery wraps it."""
    if isinstance(raised, BaseExceptionGroup):
        return all(_is_only(each, ended) for each in raised.exceptions)
    return raised is ended


def _has(error: BaseException | None, kinds: tuple[type[BaseException], ...]) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_has(each, kinds) for each in error.exceptions)
    return isinstance(error, kinds)


def _is_cancelled(error: BaseException | None) -> bool:
    return _has(error, (trio.Cancelled,))


def _is_cancelled_from_outside(scope: trio.CancelScope) -> bool:
    """Whether something round the attempt is cancelled; also if its clean-up has run out of time."""
    shield, scope.shield = scope.shield, False
    try:
        return trio.current_effective_deadline() == -math.inf
    finally:
        scope.shield = shield
