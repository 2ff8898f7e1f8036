"""Argument strategies: what a task may be called with, drawn from its annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from actorq.errors import ArgumentsError
from actorq.task import Task


if TYPE_CHECKING:
    from hypothesis import strategies as st
    from hypothesis.strategies import SearchStrategy

    from actorq.parameters import Plan

#: pytest shows the reader's own lines, not ours; `--full-trace` shows all.
__tracebackhide__ = True


class Arguments(NamedTuple):
    """Of one call: `sys.enqueue(task, *drawn.args, **drawn.kwargs)`."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __repr__(self) -> str:
        named = [f"{key}={value!r}" for key, value in self.kwargs.items()]
        return f"({', '.join([*map(repr, self.args), *named])})"


def arguments(
    task: Task[..., Any], /, **strategies: SearchStrategy[Any]
) -> SearchStrategy[Arguments]:
    """A Hypothesis strategy of the calls that *task* accepts.

    Each parameter by its annotation, `Depends()` ones excluded; by position or by name, with or without
    what has a default.  Only values that come back from JSON as they were.  A parameter of your own
    choice is given by its name: `arguments(resize, width=st.integers(1, 4000))`.

    Raises `TypeError` that names the parameter which cannot be built, `ArgumentsError` for a strategy
    that belongs to no parameter, and `ImportError` without Hypothesis (`actorq[testing]`).
    """
    if not isinstance(task, Task):
        raise TypeError(f"arguments() expects a task made with @actorq.task; got {task!r}")
    try:
        from hypothesis import strategies as st
    except ImportError as error:
        raise ImportError("arguments() needs Hypothesis: pip install 'actorq[testing]'") from error
    plan = task.signature.plan
    _check(task, plan, strategies)
    drawn = {
        name: strategies[name] if name in strategies else _values(task, name, slot.annotation)
        for name, slot in _parameters(plan).items()
    }
    rest = None if plan.rest is None else _values(task, plan.rest.name, plan.rest.annotation)
    others = None
    if plan.others is not None:
        others = _values(task, plan.others.name, plan.others.annotation)

    @st.composite
    def calls(draw: st.DrawFn) -> Arguments:
        args: list[Any] = []
        positional = [slot.name for slot in plan.positional]
        by_name = [name for name in drawn if name not in positional]
        while positional:
            name = positional[0]
            if name in plan.keywords and draw(st.booleans()):
                break  # from here on by name
            if name not in plan.required and draw(st.booleans()):
                break  # and what comes after it has a default, too, or is passed by name
            args.append(draw(drawn[positional.pop(0)]))
        if not positional and rest is not None:
            args += draw(st.lists(rest, max_size=3))
        kwargs = {
            name: draw(drawn[name])
            for name in [*positional, *by_name]
            if name in plan.keywords and (name in plan.required or draw(st.booleans()))
        }
        if others is not None:
            taken = {*drawn, *plan.injected}
            names = st.from_regex(r"[a-z]{1,5}", fullmatch=True).filter(
                lambda name: name not in taken
            )
            kwargs |= draw(st.dictionaries(names, others, max_size=2))
        return Arguments(tuple(args), kwargs)

    return calls()


def _parameters(plan: Plan) -> dict[str, Any]:
    """Those that have a name of their own."""
    return {slot.name: slot for slot in plan.positional} | plan.keywords


def _check(task: Task[..., Any], plan: Plan, strategies: dict[str, Any]) -> None:
    from hypothesis.strategies import SearchStrategy

    known = _parameters(plan)
    for name, strategy in strategies.items():
        if name in plan.injected:
            raise ArgumentsError(
                f"arguments({task.__name__}, {name}=...): the worker fills it in, callers never pass it"
            )
        if name not in known:
            raise ArgumentsError(
                f"arguments({task.__name__}, {name}=...): there is no such parameter; there are: "
                f"{', '.join(known) or 'none'}"
            )
        if not isinstance(strategy, SearchStrategy):
            raise TypeError(
                f"arguments({task.__name__}, {name}=...) expects a Hypothesis strategy; for one value "
                f"write st.just({strategy!r})"
            )


def _values(task: Task[..., Any], name: str, annotation: Any) -> SearchStrategy[Any]:
    from actorq.testing.values import Unbuildable, values

    try:
        return values(annotation)
    except Unbuildable as error:
        plain = name.lstrip("*")
        raise TypeError(
            f"arguments({task.__name__}): no values are known for the parameter {name!r}: {error}; "
            f"say how to build it: arguments({task.__name__}, {plain}=...)"
        ) from None
