"""The state: what startup handlers leave for tasks, such as a connection pool.

One for each broker; reached as `broker.state` by whoever holds the broker.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any


class State(MutableMapping[str, Any]):
    """A mapping whose items are attributes as well: `state.db = ...` is `state["db"] = ...`."""

    __slots__ = ("_items",)
    _items: dict[str, Any]

    def __init__(self, **items: Any) -> None:
        object.__setattr__(self, "_items", items)

    def __getattr__(self, name: str) -> Any:
        if name not in self._items:
            raise AttributeError(self._missing(name), name=name, obj=self)
        return self._items[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(State, name):
            raise AttributeError(f'{name!r} is a method of State; write `state["{name}"] = ...`')
        self._items[name] = value

    def __delattr__(self, name: str) -> None:
        if name not in self._items:
            raise AttributeError(self._missing(name), name=name, obj=self)
        del self._items[name]

    def __getitem__(self, name: str) -> Any:
        return self._items[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._items[name] = value

    def __delitem__(self, name: str) -> None:
        del self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self._items)

    def __repr__(self) -> str:
        return f"<State {', '.join(sorted(map(str, self._items))) or 'with nothing in it'}>"

    def _missing(self, name: str) -> str:
        if not self._items:
            return (
                f"nothing has been put into the state; a startup handler does: state.{name} = ..."
            )
        return f"the state has no {name!r}; it has {', '.join(sorted(map(str, self._items)))}"


def _restored(kind: type[State], items: dict[str, Any]) -> State:
    state = kind.__new__(kind)  # its own __init__ may want arguments
    object.__setattr__(state, "_items", dict(items))
    return state
