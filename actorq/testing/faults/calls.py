"""Faults of engine calls, as one-liners: it fails, hangs, or does its work and loses the answer.

Works anywhere and on any object whose methods can be replaced on the instance: brokers, result
backends, schedule sources, and clients of your own.  The method is its old self again when the last
planned fault has struck or was taken off.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import attrs
import trio

from actorq.testing.faults.planned import Planned, counted, seconds_of


#: pytest shows the reader's own lines, not ours; `--full-trace` shows all.
__tracebackhide__ = True


def fail_call(
    subject: object, method: str, *, k: int = 1, error: Exception | None = None
) -> Planned:
    """Let the *k*-th call of *method* from now raise, before it has done anything.

    *error*: a `ConnectionError` unless told.
    """
    plan = _CallFault(counted(k, "calls"), error=error or _error(subject, method, "failed"))
    return _intercept(subject, method, plan, "fail_call")


def lose_answer(
    subject: object, method: str, *, k: int = 1, error: Exception | None = None
) -> Planned:
    """Let the *k*-th call of *method* from now do its work, and raise in place of its answer."""
    error = error or _error(subject, method, "did its work, and its answer was lost")
    plan = _CallFault(counted(k, "calls"), error=error, works=True)
    return _intercept(subject, method, plan, "lose_answer")


def hang_call(subject: object, method: str, seconds: float | None = None, *, k: int = 1) -> Planned:
    """Let the *k*-th call of *method* from now wait for *seconds*, and then do its work.

    None: for ever, or until it is cancelled.  Async methods only.
    """
    pause = math.inf if seconds is None else seconds_of(seconds)
    plan = _CallFault(counted(k, "calls"), pause=pause, hangs=True)
    return _intercept(subject, method, plan, "hang_call")


@attrs.define(eq=False)
class _CallFault(Planned):
    error: Exception | None = None
    works: bool = False  #: does its work before it raises
    hangs: bool = False
    pause: float = 0.0
    call: str = ""

    def __str__(self) -> str:
        if self.hangs:
            return f"{self.call} hangs" + (
                "" if self.pause == math.inf else f" for {self.pause:g} s"
            )
        return f"{self.call} {'works and loses its answer' if self.works else 'fails'}"


@attrs.define(eq=False)
class _Interception:
    """Stands in place of one method of one object."""

    subject: Any
    method: str
    waiting: list[_CallFault] = attrs.field(factory=list)
    before: list[Any] = attrs.field(factory=list)  #: what the instance had under that name

    def put_on(self) -> None:
        """Begin to hear calls."""
        real = getattr(self.subject, self.method)
        if self.method in _own(self.subject):
            self.before = [real]
        listening = self._async(real) if inspect.iscoroutinefunction(real) else self._sync(real)
        listening.interception = self  # type: ignore[attr-defined]
        try:
            setattr(self.subject, self.method, listening)
        except AttributeError:
            raise TypeError(
                f"{type(self.subject).__name__} has __slots__ or is frozen: its methods cannot be "
                f"replaced on the instance; subclass it without them for the test"
            ) from None

    def take_off(self, fault: _CallFault) -> None:
        """One is over; the last one ends it all."""
        if fault in self.waiting:
            self.waiting.remove(fault)
            if self.waiting:
                return
            if self.before:
                setattr(self.subject, self.method, self.before[0])
            else:
                delattr(self.subject, self.method)

    def _turn(self) -> list[_CallFault]:
        turn = [fault for fault in tuple(self.waiting) if fault.is_its_turn()]
        for fault in turn:
            fault.strike()
        return turn

    def _async(self, real: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(real)
        async def listening(*args: Any, **kwargs: Any) -> Any:
            turn = self._turn()
            for fault in turn:
                if fault.hangs:
                    await trio.sleep(fault.pause)
            _raise_first(turn, works=False)
            value = await real(*args, **kwargs)
            _raise_first(turn, works=True)
            return value

        return listening

    def _sync(self, real: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(real)
        def listening(*args: Any, **kwargs: Any) -> Any:
            turn = self._turn()
            _raise_first(turn, works=False)
            value = real(*args, **kwargs)
            _raise_first(turn, works=True)
            return value

        return listening


def _raise_first(turn: list[_CallFault], *, works: bool) -> None:
    for fault in turn:
        if fault.error is not None and fault.works == works:
            raise fault.error


def _intercept(subject: object, method: str, plan: _CallFault, what: str) -> Planned:
    if not isinstance(method, str):
        raise TypeError(f"{what}() expects the name of a method, such as 'store'; got {method!r}")
    real = getattr(subject, method, None)
    if not callable(real):
        raise TypeError(
            f"{type(subject).__name__} has no method {method!r}; {what}() expects an object and the "
            f"name of one of its methods: {what}(broker, 'store')"
        )
    if plan.hangs and not inspect.iscoroutinefunction(real):
        raise TypeError(
            f"{type(subject).__name__}.{method}() is not async: it cannot hang and let the rest of the "
            f"program go on; fail_call() and lose_answer() work"
        )
    interception = getattr(real, "interception", None)
    if interception is None:
        interception = _Interception(subject, method)
        interception.put_on()
    interception.waiting.append(plan)
    plan.call = f"{type(subject).__name__}.{method}()"
    plan._off = functools.partial(interception.take_off, plan)
    return plan


def _own(subject: object) -> dict[str, Any]:
    return getattr(subject, "__dict__", {})


def _error(subject: object, method: str, how: str) -> Exception:
    return ConnectionError(
        f"{type(subject).__name__}.{method}() {how} (injected by actorq.testing)"
    )
