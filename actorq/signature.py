"""A task's signature: what callers may pass, checked where they call and again where it runs.

Built once per function.  Annotations are resolved at the first call, so that they may name what is
defined further down; from then on a call costs one hook per argument.
"""

from __future__ import annotations

import functools
import inspect
import operator
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import attrs

from actorq.errors import ArgumentsError, NotSerializable, TaskDefinitionError
from actorq.serialization import Misfit, codec


__all__ = ["EMPTY", "Injected", "Signature"]

Arguments = tuple[tuple[Any, ...], dict[str, Any]]

EMPTY: dict[str, Any] = {}  #: the keyword arguments of every call without any; never changed
_NOTHING: Arguments = ((), EMPTY)

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_STARS: dict[Any, str] = {_VARIADIC[0]: "*", _VARIADIC[1]: "**"}
#: types of which load() gives back the very same object
_AS_IT_IS = frozenset({int, str, bool, float, types.NoneType})

_signature_options: dict[str, Any] = {}
if sys.version_info >= (3, 14):  # annotations are evaluated on demand, and may not be ready
    import annotationlib

    _signature_options = {"annotation_format": annotationlib.Format.FORWARDREF}


class Injected(NamedTuple):
    """A parameter that the worker fills in."""

    annotation: Any  #: as written, if it cannot be resolved
    default: Any


class _Slot(NamedTuple):
    """What happens to one argument."""

    name: str
    annotation: Any
    dump: Callable[..., Any]
    load: Callable[..., Any]
    exact: Any  #: a type whose values are loaded as they are


@attrs.frozen
class _Plan:
    """The signature resolved."""

    positional: tuple[_Slot, ...]  #: up to the first injected one
    rest: _Slot | None  #: *args
    keywords: dict[str, _Slot]
    others: _Slot | None  #: **kwargs
    required: tuple[str, ...]  #: without a default, in order
    least: int  #: as many positional arguments are enough
    injected: dict[str, Injected]
    dumps: tuple[Callable[..., Any], ...]
    exacts: tuple[Any, ...]


@attrs.define(eq=False)
class Signature:
    """The parameters of one task function, and its return value."""

    function: Callable[..., Any]
    _is_injected: Callable[[Any, Any], bool]
    _signature: inspect.Signature
    _resolved: _Plan | None = attrs.field(default=None, init=False, repr=False)
    _returns: Any = attrs.field(default=None, init=False, repr=False)

    @classmethod
    def of(cls, function: Callable[..., Any], *, injected: Callable[[Any, Any], bool]) -> Signature:
        """Read the parameters; `injected(annotation, default)` says which ones callers never pass.

        It is asked with the annotation as written, and again once that is resolved.
        """
        try:
            signature = inspect.signature(function, **_signature_options)
        except (TypeError, ValueError) as error:
            raise TaskDefinitionError(f"{function!r} has no readable signature: {error}") from None
        for parameter in signature.parameters.values():
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY and injected(
                parameter.annotation, parameter.default
            ):
                raise TaskDefinitionError(
                    f"the injected parameter {parameter.name!r} is positional-only, and would be "
                    f"passed by name: write it after the `/`"
                )
        return cls(function, injected, signature)

    @property
    def injected(self) -> Mapping[str, Injected]:
        """The parameters that the worker fills in, by name."""
        return self._plan().injected

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
                return tuple(map(operator.call, plan.dumps, args)), EMPTY
        except (Misfit, RecursionError):
            pass  # the other way goes slower and knows whose fault it is
        return self._walk(plan, args, kwargs, name, dumping=True)

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
        self._plan()
        try:
            return self._returns.dump(value)
        except (Misfit, RecursionError):
            pass
        try:
            return codec(Any).dump(value)
        except Misfit as misfit:
            problem = misfit.at("return value")
        raise NotSerializable(f"{self._title(name)}: {problem}")

    def return_load(self, plain: Any) -> Any:
        """The return value again, or the plain data if it does not fit the annotation."""
        self._plan()
        try:
            return self._returns.load(plain)
        except (Misfit, RecursionError):
            return codec(Any).load(plain)

    # --- one argument after the other -------------------------------------------------------------

    def _walk(
        self, plan: _Plan, args: Any, kwargs: Mapping[str, Any], name: str | None, *, dumping: bool
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
        self, slot: _Slot, value: Any, place: int | str, name: str | None, *, dumping: bool
    ) -> Any:
        try:
            return (slot.dump if dumping else slot.load)(value)
        except Misfit as misfit:
            problem, carried = misfit.at(self._place(slot, place)), misfit.carried
        except RecursionError:
            problem, carried = f"{slot.name}: nested too deeply, or it contains itself", False
        kind = ArgumentsError if carried or not dumping else NotSerializable
        raise kind(f"{self._title(name)}: {problem}")

    @staticmethod
    def _place(slot: _Slot, place: int | str) -> str:
        if not slot.name.startswith("*"):
            return slot.name
        return f"{slot.name}[{place}]" if isinstance(place, int) else str(place)

    def _check_arity(
        self, plan: _Plan, args: Any, kwargs: Mapping[str, Any], name: str | None
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

    def _too_many(self, plan: _Plan, count: int) -> str:
        most = len(plan.positional)
        problem = f"takes {most} positional argument{'s' * (most != 1)}, got {count}"
        parameters = [p for p in self._signature.parameters.values() if p.kind in _POSITIONAL]
        if most < len(parameters):
            problem += f"; {parameters[most].name!r} is filled in by the worker"
            if most + 1 < len(parameters):
                problem += ", pass those after it by name"
        return problem

    def _unknown(self, plan: _Plan, key: str) -> str:
        if any(slot.name == key for slot in plan.positional):
            return f"{key!r} is positional-only, pass it without its name"
        return f"has no parameter {key!r}"

    def _title(self, name: str | None) -> str:
        """What the caller should have called."""
        injected = self._plan().injected
        shown = [p for p in self._signature.parameters.values() if p.name not in injected]
        try:
            text = str(self._signature.replace(parameters=shown))
        except ValueError:  # without the injected ones, a default stands before a bare parameter
            text = str(self._signature)
        return f"{name or _named(self.function)}{text}"

    # --- annotations ------------------------------------------------------------------------------

    def _plan(self) -> _Plan:
        if self._resolved is None:
            returned = self._annotation(self._signature.return_annotation, "the return value")
            self._returns = codec(returned)
            self._resolved = self._resolve()
        return self._resolved

    def _resolve(self) -> _Plan:
        injected: dict[str, Injected] = {}
        slots: dict[str, _Slot] = {}
        parameters = self._signature.parameters.values()
        for parameter in parameters:
            annotation = self._parameter(parameter, injected)
            if parameter.name not in injected:
                slots[parameter.name] = _slot(parameter, annotation)
        positional = []
        for parameter in parameters:
            if parameter.kind not in _POSITIONAL or parameter.name in injected:
                break
            positional.append(slots[parameter.name])
        required = tuple(
            p.name
            for p in parameters
            if p.name in slots and p.default is p.empty and p.kind not in _VARIADIC
        )
        by_keyword = {
            p.name: slots[p.name]
            for p in parameters
            if p.name in slots and p.kind not in (p.POSITIONAL_ONLY, *_VARIADIC)
        }
        in_order = {slot.name: i for i, slot in enumerate(positional)}
        return _Plan(
            positional=tuple(positional),
            rest=self._variadic(slots, inspect.Parameter.VAR_POSITIONAL),
            keywords=by_keyword,
            others=self._variadic(slots, inspect.Parameter.VAR_KEYWORD),
            required=required,
            # one that must be named makes the quick way impossible
            least=max((in_order.get(one, sys.maxsize) + 1 for one in required), default=0),
            injected=injected,
            dumps=tuple(slot.dump for slot in positional),
            exacts=tuple(slot.exact for slot in positional),
        )

    def _variadic(self, slots: dict[str, _Slot], kind: Any) -> _Slot | None:
        for parameter in self._signature.parameters.values():
            if parameter.kind is kind:
                return slots[parameter.name]
        return None

    def _parameter(self, parameter: inspect.Parameter, injected: dict[str, Injected]) -> Any:
        written, default = parameter.annotation, parameter.default
        marked = parameter.kind not in _VARIADIC and self._is_injected(written, default)
        try:
            annotation = self._annotation(written, f"the parameter {parameter.name!r}")
        except TaskDefinitionError:
            if not marked:  # the type of an injected one may be imported for type checkers only
                raise
            annotation = written
        if marked or (parameter.kind not in _VARIADIC and self._is_injected(annotation, default)):
            injected[parameter.name] = Injected(annotation, default)
        return annotation

    def _annotation(self, written: Any, place: str) -> Any:
        if written is inspect.Parameter.empty:
            return Any
        holder = types.SimpleNamespace(__annotations__={"it": written})
        try:
            return typing.get_type_hints(
                holder, globalns=_globals(self.function), include_extras=True
            )["it"]
        except (NameError, AttributeError, TypeError, SyntaxError) as error:
            raise TaskDefinitionError(
                f"{_named(self.function)}: the annotation {written!r} of {place} cannot be "
                f"resolved ({error}); import or define what it names at the top of the module, "
                f"not under `if TYPE_CHECKING:` and not in a function"
            ) from None


def _slot(parameter: inspect.Parameter, annotation: Any) -> _Slot:
    stars: dict[Any, str] = {
        inspect.Parameter.VAR_POSITIONAL: "*",
        inspect.Parameter.VAR_KEYWORD: "**",
    }
    dump, load = codec(annotation)
    name = stars.get(parameter.kind, "") + parameter.name
    return _Slot(name, annotation, dump, load, annotation if annotation in _AS_IT_IS else None)


def _unwrapped(function: Callable[..., Any]) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    return function if hasattr(function, "__globals__") else type(function).__call__


def _globals(function: Callable[..., Any]) -> dict[str, Any]:
    plain = _unwrapped(function)
    return getattr(getattr(plain, "__func__", plain), "__globals__", {})


def _named(function: Callable[..., Any]) -> str:
    named = function if hasattr(function, "__qualname__") else _unwrapped(function)
    return getattr(named, "__qualname__", repr(function))
