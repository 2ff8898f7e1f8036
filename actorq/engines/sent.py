"""A message on its way into a storage, and out of it again.

Written and read in Trio's thread; the step that stores it needs nothing but this.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import attrs

from actorq.engines.memory.sealed import Sealed
from actorq.errors import ActorqError, DuplicateTaskId, EnvelopeError
from actorq.limits import Pace, Permit
from actorq.message import TaskMessage
from actorq.options import TaskOptions
from actorq.unique import OnConflict, UniqueKey, Until
from actorq.wire import Wire


class Bounds(NamedTuple):
    """Of a call's terms, what the queue's law looks at."""

    unique: UniqueKey | None = None
    permits: tuple[Permit, ...] = ()
    paces: tuple[Pace, ...] = ()
    chain: tuple[str, ...] = ()  #: the ids of the steps after it

    def dump(self) -> str:
        """As it is kept."""
        return json.dumps([self.unique, self.permits, self.paces, self.chain])

    @classmethod
    def load(cls, text: str) -> Bounds:
        """The inverse of `dump`."""
        unique, permits, paces, chain = json.loads(text)
        return cls(
            unique and UniqueKey(unique[0], OnConflict(unique[1]), Until(unique[2]), unique[3]),
            tuple([Permit(*each) for each in permits]),
            tuple([Pace(*each) for each in paces]),
            tuple(chain),
        )


class Sent(NamedTuple):
    """What the columns are made of."""

    task_id: str
    data: bytes | str  #: the message; as text: why it could not be written
    message: TaskMessage
    bounds: Bounds | None
    alias: str | None = None  #: the id in *data*, if it is kept under another one

    @property
    def is_plain(self) -> bool:
        """Nothing is to be found out before it is stored, but whether its id is known."""
        return self.bounds is None


def write(message: TaskMessage, wire: Wire) -> Sent:
    """`NotSerializable` or `MessageTooLarge`."""
    sealed = message.args[0] if message.args else None
    if isinstance(sealed, Sealed):  # a dead letter that could not be read, replayed
        alias = None if sealed.task_id == message.task_id else sealed.task_id
        return Sent(message.task_id, sealed.data, message, bounds_of(message), alias)
    return Sent(message.task_id, wire.encode_message(message), message, bounds_of(message))


def write_anyhow(message: TaskMessage, wire: Wire) -> Sent:
    """If that fails nobody can be told, so it is found out when it is read."""
    try:
        return write(message, wire)
    except ActorqError as error:
        said = f"could not be written: {error}"
        return Sent(message.task_id, said, message, bounds_of(message))


def bounds_of(message: TaskMessage) -> Bounds | None:
    """None for most."""
    terms = message.terms
    if terms is None or not (terms.unique or terms.permits or terms.paces or terms.chain):
        return None
    steps = tuple([step.task_id for step in terms.chain])
    return Bounds(terms.unique, terms.permits, terms.paces, steps)


def read(data: bytes | str, task_id: str, alias: str | None, wire: Wire) -> TaskMessage:
    """The message that was stored; `EnvelopeError` that says why it cannot be read."""
    if isinstance(data, str):
        raise EnvelopeError(data)
    message = wire.decode_message(data, alias or task_id)
    return message if alias is None else attrs.evolve(message, task_id=task_id)


def shown(
    data: bytes | str, task_id: str, alias: str | None, wire: Wire, **known: Any
) -> TaskMessage:
    """For who looks: as it was, or if it cannot be read, what is *known* of it."""
    try:
        return read(data, task_id, alias, wire)
    except EnvelopeError:
        kept = data if isinstance(data, bytes) else data.encode()
        options = TaskOptions(queue=known["queue"])
        return TaskMessage(
            task_id, known["name"], (Sealed(kept, alias or task_id, b""),), {}, options
        )


def may_change(bounds: Bounds | None) -> bool:
    """Such a call may have taken the arguments of a later one."""
    unique = None if bounds is None else bounds.unique
    return unique is not None and unique.on_conflict is OnConflict.DEBOUNCE


def check_same_call(known: TaskMessage, other: TaskMessage) -> None:
    """Raise `DuplicateTaskId` if they are different calls of one id."""
    if known.task_name != other.task_name or _arguments(known) != _arguments(other):
        raise DuplicateTaskId(
            f"task id {other.task_id!r} belongs to another call already: {known.task_name}; "
            f"choose another task_id"
        )


def _arguments(message: TaskMessage) -> str:
    return json.dumps([list(message.args), dict(message.kwargs)], sort_keys=True, default=repr)
