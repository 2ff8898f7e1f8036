"""Named keys: one is used for what is written, all are accepted in what is read.

So a key is changed without a stop: first every process accepts the new one, then it is used, and
when nothing that was written with the old one is left, that goes.
"""

from __future__ import annotations

from collections.abc import Mapping

from actorq.errors import EnvelopeError


class Keys:
    """Keys by their ids.  Its repr shows the ids only."""

    def __init__(
        self,
        where: str,
        keys: Mapping[str, bytes],
        use: str | None,
        *,
        least: int,
        most: int | None,
    ) -> None:
        if not isinstance(keys, Mapping) or not keys:
            raise TypeError(
                f"{where} expects keys by their ids, such as {{'2025-01': key}} with a key of "
                f"{least} random bytes (secrets.token_bytes({least})); got "
                f"{'an empty mapping' if isinstance(keys, Mapping) else type(keys).__name__}"
            )
        for name, key in keys.items():
            _check(where, name, key, least, most)
        if use is None and len(keys) > 1:
            raise ValueError(
                f"{where} got {len(keys)} keys: say which one is used for what is written: "
                f"use={next(iter(keys))!r}; the others are accepted in what is read"
            )
        if use is not None and use not in keys:
            raise ValueError(f"{where}: use={use!r} names no key; there are {sorted(keys)}")
        self.where = where
        self.used: str = next(iter(keys)) if use is None else use
        self.all: dict[str, bytes] = {name: bytes(key) for name, key in keys.items()}

    def get(self, name: str) -> bytes:
        """The key of this id; `EnvelopeError` if it is not accepted."""
        found = self.all.get(name)
        if found is None:
            raise EnvelopeError(
                f"it was written with the key {name!r:.100}, which is not accepted here "
                f"({', '.join(map(repr, sorted(self.all)))} are): forged, or the key is missing in "
                f"{self.where}"
            )
        return found

    def shares_one_with(self, other: Keys) -> bool:
        """Whether a key is in both."""
        return not set(self.all.values()).isdisjoint(other.all.values())

    def __repr__(self) -> str:
        others = [name for name in self.all if name != self.used]
        return f"<uses {self.used!r}{f', accepts {others}' if others else ''}>"


def _check(where: str, name: object, key: object, least: int, most: int | None) -> None:
    if not isinstance(name, str) or not name.isascii() or not 0 < len(name) <= 64:
        raise ValueError(
            f"{where}: a key's id is 1 to 64 ASCII characters, such as '2025-01'; got {name!r}"
        )
    if not isinstance(key, bytes | bytearray):
        raise TypeError(
            f"{where}: the key {name!r} must be bytes (bytes.fromhex(...) reads hex digits); got "
            f"{type(key).__name__}"
        )
    if len(key) < least or (most is not None and len(key) > most):
        raise ValueError(
            f"{where}: the key {name!r} must have {'at least ' if most is None else ''}{least} bytes, "
            f"random ones (secrets.token_bytes({least})); got {len(key)}"
        )
