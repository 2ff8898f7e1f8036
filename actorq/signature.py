"""A task's signature: what callers may pass, checked where they call and again where it runs.

Built once per function.  Annotations are resolved at the first call, so that they may name what is
defined further down; from then on a call costs one hook per argument.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from actorq.errors import ArgumentsError, NotSerializable
from actorq.parameters import (
    POSITIONAL,
    Injected,
    IsInjected,
    Plan,
    Slot,
    named,
    plan_of,
    read_signature,
)
from actorq.serialization import Misfit, codec


__all__ = ["EMPTY", "Injected", "Signature"]

Arguments = tuple[tuple[Any, ...], dict[str, Any]]

EMPTY: dict[str, Any] = {}  #: the keyword arguments of every call without any; never changed
_NOTHING: Arguments = ((), EMPTY)

_FIRST: Any = object()  #: stands for an argument that is not known yet

_call: Any = operator.call  # typed for one function, where map has one for each argument


@attrs.define(eq=False)
class Signature:
    """The parameters of one task function, and its return value."""

    function: Callable[..., Any]
    _is_injected: IsInjected
    _signature: inspect.Signature
    _resolved: Plan | None = attrs.field(default=None, init=False, repr=False)

    @classmethod
    def of(cls, function: Callable[..., Any], *, injected: IsInjected) -> Signature:
        """Read the parameters; `injected(annotation, default)` says which ones callers never pass.

        It is asked with the annotation as written, and again once that is resolved.
        """
        return cls(function, injected, read_signature(function, injected))

    @property
    def injected(self) -> Mapping[str, Injected]:
        """The parameters that the worker fills in, by name."""
        return self._plan().injected

    @property
    def plan(self) -> Plan:
        """What happens to each parameter's argument."""
        return self._resolved or self._plan()

    def bind(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], name: str | None = None
    ) -> Arguments:
        """A caller's arguments as plain data; *name* is the task's, for the error."""
        plan = self._resolved or self._plan()
        count = len(args)
        try:
            if not kwargs and plan.least <= count <= len(plan.positional):
                if not count:
                    return _NOTHING
                if count == 1:
                    return (plan.dumps[0](args[0]),), EMPTY
                return tuple(map(_call, plan.dumps, args)), EMPTY
        except (Misfit, RecursionError):
            pass  # the other way goes slower and knows whose fault it is
        return self._walk(plan, args, kwargs, name, dumping=True)

    def bind_rest(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], name: str | None = None
    ) -> Arguments:
        """A caller's arguments but for the first, which is not known yet, as plain data."""
        plan = self._resolved or self._plan()
        self._check_arity(plan, (None, *args), kwargs, name)
        bound, named = self._walk(plan, (_FIRST, *args), kwargs, name, dumping=True)
        return bound[1:], named

    def argument_names(self) -> list[str] | None:
        """The names that a call's arguments may have; None if any (`**kwargs`).

        Injected parameters may be among them: their annotations are not resolved for this.
        """
        parameters = self._signature.parameters.values()
        if any(p.kind is p.VAR_KEYWORD for p in parameters):
            return None
        return [p.name for p in parameters if not self._is_injected(p.annotation, p.default)]

    def named_arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """A call's arguments by the names of their parameters, defaults included."""
        plan = self._resolved or self._plan()
        parameters = [p for p in self._signature.parameters.values() if p.name not in plan.injected]
        try:
            bound = self._signature.replace(parameters=parameters).bind(*args, **kwargs)
        except (TypeError, ValueError) as error:
            raise ArgumentsError(f"{self._title(None)}: {error}") from None
        bound.apply_defaults()
        return dict(bound.arguments)

    def load(self, args: Any, kwargs: Any, name: str | None = None) -> Arguments:
        """The worker's side: a message's plain data as the values that the function expects."""
        plan = self._resolved or self._plan()
        if not kwargs and type(args) is tuple and plan.least <= len(args) <= len(plan.positional):
            if not args:
                return _NOTHING
            if tuple(map(type, args)) == plan.exacts[: len(args)]:
                return args, EMPTY
        if not isinstance(args, (tuple, list)) or not isinstance(kwargs, Mapping):
            raise ArgumentsError(f"{self._title(name)}: its arguments are not a list and a dict")
        return self._walk(plan, args, kwargs, name, dumping=False)

    def return_dump(self, value: Any, name: str | None = None) -> Any:
        """The return value as plain data: by its annotation, or as it is if that errs."""
        try:
            return (self._resolved or self._plan()).returns.dump(value)
        except (Misfit, RecursionError):
            pass
        try:
            return codec(Any).dump(value)
        except Misfit as misfit:
            problem = misfit.at("return value")
        raise NotSerializable(f"{self._title(name)}: {problem}")

    def return_load(self, plain: Any) -> Any:
        """The return value again, or the plain data if it does not fit the annotation."""
        try:
            return (self._resolved or self._plan()).returns.load(plain)
        except (Misfit, RecursionError):
            return codec(Any).load(plain)

    # --- one argument after the other -------------------------------------------------------------

    def _walk(
        self, plan: Plan, args: Any, kwargs: Mapping[str, Any], name: str | None, *, dumping: bool
    ) -> Arguments:
        self._check_arity(plan, args, kwargs, name)
        values = [
            self._convert(slot, value, i, name, dumping=dumping)
            for i, value in enumerate(args)
            if (slot := plan.positional[i] if i < len(plan.positional) else plan.rest)
        ]
        named = {
            key: self._convert(slot, value, key, name, dumping=dumping)
            for key, value in kwargs.items()
            if (slot := plan.keywords.get(key, plan.others))
        }
        return tuple(values), named or EMPTY

    def _convert(
        self, slot: Slot, value: Any, place: int | str, name: str | None, *, dumping: bool
    ) -> Any:
        if value is _FIRST:
            return None
        try:
            return (slot.dump if dumping else slot.load)(value)
        except Misfit as misfit:
            problem, carried = misfit.at(self._place(slot, place)), misfit.carried
        except RecursionError:
            problem, carried = f"{slot.name}: nested too deeply, or it contains itself", False
        kind = ArgumentsError if carried or not dumping else NotSerializable
        raise kind(f"{self._title(name)}: {problem}")

    @staticmethod
    def _place(slot: Slot, place: int | str) -> str:
        if not slot.name.startswith("*"):
            return slot.name
        return f"{slot.name}[{place}]" if isinstance(place, int) else str(place)

    def _check_arity(
        self, plan: Plan, args: Any, kwargs: Mapping[str, Any], name: str | None
    ) -> None:
        if len(args) > len(plan.positional) and plan.rest is None:
            raise ArgumentsError(f"{self._title(name)}: {self._too_many(plan, len(args))}")
        given = {slot.name for slot in plan.positional[: len(args)]}
        for key in kwargs:
            if key in plan.injected:
                raise ArgumentsError(f"{self._title(name)}: {key!r} is filled in by the worker")
            if key in given and key in plan.keywords:
                raise ArgumentsError(f"{self._title(name)}: got two values for {key!r}")
            if key not in plan.keywords and plan.others is None:
                raise ArgumentsError(f"{self._title(name)}: {self._unknown(plan, key)}")
        by_name = plan.keywords.keys() & kwargs.keys()
        if missing := [one for one in plan.required if one not in given | by_name]:
            raise ArgumentsError(f"{self._title(name)}: missing {', '.join(map(repr, missing))}")

    def _too_many(self, plan: Plan, count: int) -> str:
        most = len(plan.positional)
        problem = f"takes {most} positional argument{'s' * (most != 1)}, got {count}"
        parameters = [p for p in self._signature.parameters.values() if p.kind in POSITIONAL]
        if most < len(parameters):
            problem += f"; {parameters[most].name!r} is filled in by the worker"
            if most + 1 < len(parameters):
                problem += ", pass those after it by name"
        return problem

    def _unknown(self, plan: Plan, key: str) -> str:
        if any(slot.name == key for slot in plan.positional):
            return f"{key!r} is positional-only, pass it without its name"
        return f"has no parameter {key!r}"

    def _title(self, name: str | None) -> str:
        """What the caller should have called."""
        injected = self._plan().injected
        whole = [
            p.replace(annotation=_Written.of(p.annotation))
            for p in self._signature.parameters.values()
        ]
        returns = _Written.of(self._signature.return_annotation)
        signature = self._signature.replace(parameters=whole, return_annotation=returns)
        try:
            text = str(signature.replace(parameters=[p for p in whole if p.name not in injected]))
        except ValueError:  # without the injected ones, a default stands before a bare parameter
            text = str(signature)
        return f"{name or named(self.function)}{text}"

    def _plan(self) -> Plan:
        if self._resolved is None:
            self._resolved = plan_of(self.function, self._signature, self._is_injected)
        return self._resolved


@attrs.frozen(repr=False)
class _Written:
    """An annotation that is text (`from __future__ import annotations`): shown without quotes."""

    text: str

    @classmethod
    def of(cls, annotation: Any) -> Any:
        return cls(annotation) if isinstance(annotation, str) else annotation

    def __repr__(self) -> str:
        return self.text
