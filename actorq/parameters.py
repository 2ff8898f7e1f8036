"""A function's parameters: its annotations resolved, and what is to happen to each argument.

Read once per function, at its first call; `signature` does with arguments what the plan says.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import attrs

from actorq.errors import TaskDefinitionError
from actorq.serialization import Codec, codec


#: `injected(annotation, default)`: whether callers never pass this parameter
IsInjected = Callable[[Any, Any], bool]

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_STARS: dict[Any, str] = {
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.VAR_KEYWORD: "**",
}
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


class Slot(NamedTuple):
    """What happens to one argument."""

    name: str
    annotation: Any
    dump: Callable[..., Any]
    load: Callable[..., Any]
    exact: Any  #: a type whose values are loaded as they are


@attrs.frozen
class Plan:
    """The signature resolved."""

    positional: tuple[Slot, ...]  #: up to the first injected one
    rest: Slot | None  #: *args
    keywords: dict[str, Slot]
    others: Slot | None  #: **kwargs
    required: tuple[str, ...]  #: without a default, in order
    least: int  #: as many positional arguments are enough
    injected: dict[str, Injected]
    dumps: tuple[Callable[..., Any], ...]
    exacts: tuple[Any, ...]
    returns: Codec


def read_signature(function: Callable[..., Any], is_injected: IsInjected) -> inspect.Signature:
    """The signature as written; `TaskDefinitionError` if it cannot be a task's."""
    try:
        signature = signature_of(function)
    except (TypeError, ValueError) as error:
        raise TaskDefinitionError(f"{function!r} has no readable signature: {error}") from None
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY and is_injected(
            parameter.annotation, parameter.default
        ):
            raise TaskDefinitionError(
                f"the injected parameter {parameter.name!r} is positional-only, and would be "
                f"passed by name: write it after the `/`"
            )
    return signature


def signature_of(call: Callable[..., Any]) -> inspect.Signature:
    """The signature of anything that can be called; raises as `inspect.signature` does."""
    return inspect.signature(call, **_signature_options)


def plan_of(
    function: Callable[..., Any], signature: inspect.Signature, is_injected: IsInjected
) -> Plan:
    """Resolve the annotations; `TaskDefinitionError` if one of them names what is not there."""
    returns = codec(_resolved(function, signature.return_annotation, "the return value"))
    parameters = signature.parameters.values()
    injected: dict[str, Injected] = {}
    slots: dict[str, Slot] = {}
    for parameter in parameters:
        annotation, is_marked = _read(function, parameter, is_injected)
        if is_marked:
            injected[parameter.name] = Injected(annotation, parameter.default)
        else:
            slots[parameter.name] = _slot(parameter, annotation)
    positional = _quick(parameters, slots)
    in_order = {slot.name: i for i, slot in enumerate(positional)}
    starred = {p.kind: slots[p.name] for p in parameters if p.kind in _STARS}
    callers = [p for p in parameters if p.name in slots and p.kind not in _STARS]
    required = tuple(p.name for p in callers if p.default is p.empty)
    return Plan(
        positional=positional,
        rest=starred.get(inspect.Parameter.VAR_POSITIONAL),
        keywords={p.name: slots[p.name] for p in callers if p.kind is not p.POSITIONAL_ONLY},
        others=starred.get(inspect.Parameter.VAR_KEYWORD),
        required=required,
        # one that must be named makes the quick way impossible
        least=max((in_order.get(one, sys.maxsize) + 1 for one in required), default=0),
        injected=injected,
        dumps=tuple(slot.dump for slot in positional),
        exacts=tuple(slot.exact for slot in positional),
        returns=returns,
    )


def _quick(parameters: Iterable[inspect.Parameter], slots: dict[str, Slot]) -> tuple[Slot, ...]:
    """What can be passed by position: those after an injected one cannot."""
    positional = []
    for parameter in parameters:
        if parameter.kind not in POSITIONAL or parameter.name not in slots:
            break
        positional.append(slots[parameter.name])
    return tuple(positional)


def _slot(parameter: inspect.Parameter, annotation: Any) -> Slot:
    name = _STARS.get(parameter.kind, "") + parameter.name
    return Slot(
        name, annotation, *codec(annotation), annotation if annotation in _AS_IT_IS else None
    )


# --- annotations ----------------------------------------------------------------------------------


def _read(
    function: Callable[..., Any], parameter: inspect.Parameter, is_injected: IsInjected
) -> tuple[Any, bool]:
    """The annotation, and whether the parameter is one that the worker fills in."""
    written, default = parameter.annotation, parameter.default
    marked = parameter.kind not in _STARS and is_injected(written, default)
    try:
        annotation = _resolved(function, written, f"the parameter {parameter.name!r}")
    except TaskDefinitionError:
        if not marked:  # the type of an injected one may be imported for type checkers only
            raise
        annotation = written
    return annotation, marked or (parameter.kind not in _STARS and is_injected(annotation, default))


def read_annotation(call: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """The annotation, `Parameter.empty` if there is none, and as written if it cannot be resolved."""
    if parameter.annotation is parameter.empty:
        return parameter.empty
    try:
        return _resolved(call, parameter.annotation, f"the parameter {parameter.name!r}")
    except TaskDefinitionError:
        return parameter.annotation


def _resolved(function: Callable[..., Any], written: Any, place: str) -> Any:
    if written is inspect.Parameter.empty:
        return Any
    holder = types.SimpleNamespace(__annotations__={"it": written})
    try:
        return typing.get_type_hints(holder, globalns=_globals(function), include_extras=True)["it"]
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        raise TaskDefinitionError(
            f"{named(function)}: the annotation {written!r} of {place} cannot be "
            f"resolved ({error}); import or define what it names at the top of the module, "
            f"not under `if TYPE_CHECKING:` and not in a function"
        ) from None


def _globals(function: Callable[..., Any]) -> dict[str, Any]:
    if inspect.isclass(function):  # its __init__ may be generated, or inherited from elsewhere
        owners = [each for each in function.__mro__ if "__init__" in vars(each)]
        return vars(sys.modules.get(owners[0].__module__, typing))
    plain = _unwrapped(function)
    return getattr(getattr(plain, "__func__", plain), "__globals__", {})


def _unwrapped(function: Callable[..., Any]) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    return function if hasattr(function, "__globals__") else type(function).__call__


def named(function: Callable[..., Any]) -> str:
    """What to call a function in an error."""
    bearer = function if hasattr(function, "__qualname__") else _unwrapped(function)
    return getattr(bearer, "__qualname__", repr(function))
