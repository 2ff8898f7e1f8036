"""Task progress: what a running task says of how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from actorq.errors import EnvelopeError


def _fraction(_instance: object, _attribute: object, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"progress must be a number from 0.0 to 1.0; got {value!r}")
    if not 0.0 <= value <= 1.0:
        raise ValueError(
            f"progress must be from 0.0 to 1.0; got {value!r}: pass done / total, not per cent"
        )


def _meta(value: Mapping[str, Any] | None) -> dict[str, Any]:
    return {} if value is None else dict(value)


@attrs.frozen
class TaskProgress:
    """How far a task is."""

    progress: float = attrs.field(default=0.0, validator=_fraction)  #: 0.0 to 1.0
    status: str = attrs.field(default="PENDING", validator=attrs.validators.instance_of(str))
    current: int | None = None  #: the item being processed
    total: int | None = None  #: how many items there are
    meta: dict[str, Any] = attrs.field(default=None, converter=_meta)  #: anything JSON can carry

    def to_dict(self) -> dict[str, Any]:
        """The fields, by name."""
        return {
            "progress": self.progress,
            "status": self.status,
            "current": self.current,
            "total": self.total,
            "meta": dict(self.meta),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TaskProgress:
        """The inverse of `to_dict`; missing fields take their defaults, unknown ones are refused.

        Raises `EnvelopeError`.
        """
        if not isinstance(data, Mapping):
            raise EnvelopeError(f"a progress is a dictionary; got {data!r}")
        unknown = set(data) - {field.name for field in attrs.fields(cls)}
        if unknown:
            raise EnvelopeError(
                f"unknown fields in a progress: {', '.join(sorted(map(str, unknown)))}"
            )
        try:
            return cls(**data)
        except (TypeError, ValueError) as error:
            raise EnvelopeError(f"not a progress: {error}; got {dict(data)!r}") from error
