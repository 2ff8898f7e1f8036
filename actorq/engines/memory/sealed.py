"""Sealed messages: what the memory engine keeps of a message if it keeps bytes, as other engines do.

What the queue's law looks at (name, options, times, terms) stays beside the bytes, as columns of a
table would; the arguments are in the bytes only, and come out when the task is given to a worker.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import attrs

from actorq.errors import ActorqError, EnvelopeError
from actorq.message import TaskMessage
from actorq.wire import Wire


class Sealed:
    """A whole message as bytes, in the place of its arguments.

    Equal to another that holds the same call: the bytes themselves differ with each encryption.
    """

    __slots__ = ("call", "data", "task_id")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, data: bytes, task_id: str, call: bytes) -> None:
        self.data = data
        self.task_id = task_id  #: the queue may keep it under another one (a debounced call)
        self.call = call

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sealed) and self.call == other.call

    def __repr__(self) -> str:
        return f"<{len(self.data)} sealed bytes>"


def seal(message: TaskMessage, wire: Wire) -> TaskMessage:
    """The message with its arguments as bytes; `NotSerializable` or `MessageTooLarge`."""
    if _sealed(message) is not None:  # a dead letter that could not be read, replayed
        return message
    data = wire.encode_message(message)
    sealed = Sealed(data, message.task_id, _call(message.args, message.kwargs))
    return attrs.evolve(message, args=(sealed,), kwargs={})


def seal_anyhow(message: TaskMessage, wire: Wire) -> TaskMessage:
    """As `seal`; if that fails nobody can be told, so it is found out when it is opened."""
    try:
        return seal(message, wire)
    except ActorqError as error:
        sealed = Sealed(f"could not be written: {error}".encode(), message.task_id, b"")
        return attrs.evolve(message, args=(sealed,), kwargs={})


def unseal(message: TaskMessage, wire: Wire) -> TaskMessage:
    """The message that was sealed; `EnvelopeError` that says why it cannot be read."""
    sealed = _sealed(message)
    if sealed is None:
        return message
    if not sealed.call:
        raise EnvelopeError(sealed.data.decode())
    read = wire.decode_message(sealed.data, sealed.task_id)
    if read.task_id != message.task_id:
        return attrs.evolve(read, task_id=message.task_id)
    return read


def shown(message: TaskMessage, wire: Wire) -> TaskMessage:
    """For who looks: as it was, or if it cannot be read, as it is kept."""
    try:
        return unseal(message, wire)
    except EnvelopeError:
        return message


def _sealed(message: TaskMessage) -> Sealed | None:
    first = message.args[0] if message.args else None
    return first if isinstance(first, Sealed) else None


def _call(args: Any, kwargs: Any) -> bytes:
    text = json.dumps([list(args), dict(kwargs)], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
