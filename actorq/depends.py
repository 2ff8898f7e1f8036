"""The mark of an injected parameter: `db: Database = Depends(get_db)`.

What it comes to is found out in `dependency_graph`, and done in `dependency_resolver`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_origin, overload

import attrs


if TYPE_CHECKING:
    # what typeshed says of the two decorators: any other class with __enter__ is not entered for you
    from contextlib import _AsyncGeneratorContextManager, _GeneratorContextManager

T = TypeVar("T")


@attrs.frozen(eq=False, repr=False, slots=True)
class Dependency:
    """The mark itself.  Made by `Depends`."""

    dependency: Callable[..., Any] | None = None  #: None: what the annotation names
    use_cache: bool = True

    def __getattr__(self, name: str) -> Any:
        """Nobody has put a value in its place: the function was called directly."""
        raise AttributeError(
            f"{self!r} has no attribute {name!r}: it stands where a worker fills in the value. "
            f"If you call the function yourself, pass that argument"
        )

    def __repr__(self) -> str:
        call = self.dependency
        named = "" if call is None else getattr(call, "__qualname__", repr(call))
        return f"Depends({named}{'' if self.use_cache else ', use_cache=False'})"


_BY_ANNOTATION = Dependency()


@overload
def Depends(*, use_cache: bool = True) -> Any: ...
@overload
def Depends(dependency: type[T], *, use_cache: bool = True) -> T: ...
@overload
def Depends(
    dependency: Callable[..., _AsyncGeneratorContextManager[T]], *, use_cache: bool = True
) -> T: ...
@overload
def Depends(
    dependency: Callable[..., _GeneratorContextManager[T]], *, use_cache: bool = True
) -> T: ...
@overload
def Depends(
    dependency: Callable[..., AsyncIterator[T]] | Callable[..., AsyncGenerator[T, Any]],
    *,
    use_cache: bool = True,
) -> T: ...
@overload
def Depends(dependency: Callable[..., Coroutine[Any, Any, T]], *, use_cache: bool = True) -> T: ...
@overload
def Depends(
    dependency: Callable[..., Iterator[T]] | Callable[..., Generator[T, Any, Any]],
    *,
    use_cache: bool = True,
) -> T: ...
@overload
def Depends(dependency: Callable[..., T], *, use_cache: bool = True) -> T: ...
def Depends(  # noqa: N802 - as FastAPI has it
    dependency: Callable[..., Any] | None = None, *, use_cache: bool = True
) -> Any:
    """Mark a parameter that the worker fills in.

    `Depends(get_db)` calls *dependency*: a function, plain or async, a generator that yields the value
    and cleans up behind it, plain or async, or a class.  `Depends()` gives what the annotation names:
    `Context`, `State`, `Progress`, a value of `broker.with_dependency(...)`, or an object of that class.
    A dependency runs once for each attempt of a task, however often it is asked for; with
    `use_cache=False`, once for this parameter.

    It has the type of the value, so that type checkers see a parameter with a default, which callers
    must not pass.  Raises `TypeError`.
    """
    if dependency is None and use_cache is True:
        return _BY_ANNOTATION
    if dependency is not None and not callable(dependency):
        raise TypeError(
            f"Depends() expects a function or a class, such as Depends(get_db); got {dependency!r}"
        )
    if not isinstance(use_cache, bool):
        raise TypeError(f"use_cache expects True or False; got {use_cache!r}")
    return Dependency(dependency, use_cache)


def mark_of(annotation: Any, default: Any) -> Dependency | None:
    """The mark of a parameter, in its default or in its `Annotated[...]`.

    A default of `Depends()` says only that callers need not pass it.
    """
    marked = default if isinstance(default, Dependency) else None
    if marked is not None and marked.dependency is not None:
        return marked
    if get_origin(annotation) is Annotated:
        for said in reversed(get_args(annotation)[1:]):  # FastAPI too takes the last
            if isinstance(said, Dependency):
                return said
    return marked


def bare(annotation: Any) -> Any:
    """An annotation without what `Annotated` adds to it."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
