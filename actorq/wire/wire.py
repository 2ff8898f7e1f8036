"""`Wire`: task messages, results and progress as bytes, and what the bytes must be to be believed.

A value; `broker.with_serializer(...)` and its like replace it.  Engines use it as `broker.wire` and
as `self.wire` in a result backend.  Reading raises `EnvelopeError` and nothing else, whatever the
bytes are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from actorq.errors import ActorqError, EnvelopeError, MessageTooLarge, NotSerializable
from actorq.message import TaskMessage
from actorq.progress import TaskProgress
from actorq.result import TaskResult
from actorq.serialization import plain_data
from actorq.wire import encryption as ciphers
from actorq.wire import quick
from actorq.wire import signing as signatures
from actorq.wire.encryption import Encryption
from actorq.wire.formats import JSONSerializer, Serializer
from actorq.wire.frame import Header, Kind, read_header
from actorq.wire.signing import Signing


#: Bytes of a message or a result, unless `with_size_limit` says otherwise.
SIZE_LIMIT: Final = 4 * 1024 * 1024

_JSON: Final = JSONSerializer()
_WHITESPACE: Final = b" \t\r\n"
_LONGEST: Final = 500  #: characters of what a format or an envelope said of bytes

#: What each kind is called, and the levels that its envelope puts round the user's values.
#: (An error in a result holds its causes and the arguments of each.)
_KINDS: Final[Mapping[Kind, tuple[str, int]]] = {
    Kind.TASK: ("a task message", 1),
    Kind.RESULT: ("a result", 20),
    Kind.PROGRESS: ("a progress", 1),
}


@attrs.frozen
class Wire:
    """Writes and reads; see the module."""

    serializer: Serializer = _JSON  #: what is written
    also: tuple[Serializer, ...] = ()  #: formats that are read besides
    signing: Signing | None = None
    encryption: Encryption | None = None
    size_limit: int | None = SIZE_LIMIT  #: bytes; None: no limit

    # --- another one, with something else chosen ---

    def written_as(self, serializer: Serializer, also: tuple[Serializer, ...] = ()) -> Wire:
        """Writes this format, and reads those *also*."""
        for each in (serializer, *also):
            _check_format(each)
        names = [each.name for each in (serializer, *also)]
        if len(set(names)) < len(names):
            raise ValueError(f"with_serializer(): two formats have one name: {names}")
        return attrs.evolve(self, serializer=serializer, also=also)

    def signed(self, signing: Signing) -> Wire:
        """Signs, and refuses what is not signed."""
        _check_apart(signing, self.encryption)
        return attrs.evolve(self, signing=signing)

    def encrypted(self, encryption: Encryption) -> Wire:
        """Encrypts, and refuses what is not encrypted."""
        _check_apart(self.signing, encryption)
        return attrs.evolve(self, encryption=encryption)

    def limited(self, size_limit: int | None) -> Wire:
        """Refuses what has more bytes."""
        if size_limit is not None:
            if isinstance(size_limit, bool) or not isinstance(size_limit, int):
                raise TypeError(
                    f"with_size_limit() expects bytes, or None for no limit; got {size_limit!r}"
                )
            if size_limit < 1:
                raise ValueError(f"with_size_limit() expects at least 1 byte; got {size_limit}")
        return attrs.evolve(self, size_limit=size_limit)

    # --- what engines call ---

    def encode_message(self, message: TaskMessage) -> bytes:
        """A message as bytes; `NotSerializable` or `MessageTooLarge`."""
        if self._is_bare:
            data = quick.encoded(message)
            if data is not None and (self.size_limit is None or len(data) <= self.size_limit):
                return data
        return self._encode(Kind.TASK, message.task_id, message.to_dict())

    def decode_message(self, data: bytes, task_id: str | None = None) -> TaskMessage:
        """The message of these bytes, which is that of *task_id* if one is given."""
        written_for, plain = self._decode(Kind.TASK, data)
        message: TaskMessage = _believed(Kind.TASK, _message_of, plain)
        _check_id(written_for, message.task_id)
        _check_id(task_id, message.task_id)
        return message

    def encode_result(self, task_id: str, result: TaskResult[Any]) -> bytes:
        """A result as bytes; `NotSerializable` or `MessageTooLarge`."""
        if self._is_bare:
            data = quick.encoded_result(result)
            if data is not None and (self.size_limit is None or len(data) <= self.size_limit):
                return data
        return self._encode(Kind.RESULT, task_id, result.to_dict())

    def decode_result(
        self, data: bytes, task_id: str, declared: tuple[type[Exception], ...] = ()
    ) -> TaskResult[Any]:
        """The result of *task_id*; its error as `TaskResult.from_dict` makes it."""
        written_for, plain = self._decode(Kind.RESULT, data)
        _check_id(written_for, task_id)
        quickly = quick.result_of(plain)
        if quickly is not None:
            return quickly
        result: TaskResult[Any] = _believed(
            Kind.RESULT, lambda data: TaskResult.from_dict(data, declared), plain
        )
        return result

    def encode_progress(self, task_id: str, progress: TaskProgress) -> bytes:
        """A progress as bytes; `NotSerializable` or `MessageTooLarge`."""
        return self._encode(Kind.PROGRESS, task_id, progress.to_dict())

    def decode_progress(self, data: bytes, task_id: str) -> TaskProgress:
        """The progress of *task_id*."""
        written_for, plain = self._decode(Kind.PROGRESS, data)
        _check_id(written_for, task_id)
        progress: TaskProgress = _believed(Kind.PROGRESS, TaskProgress.from_dict, plain)
        return progress

    # --- writing ---

    @property
    def _is_bare(self) -> bool:
        """What is written is JSON, and nothing round it."""
        return (
            self.signing is None
            and self.encryption is None
            and type(self.serializer) is JSONSerializer
        )

    def _encode(self, kind: Kind, task_id: str, envelope: dict[str, Any]) -> bytes:
        what, spare = _KINDS[kind]
        plain = plain_data(envelope, spare=spare)
        payload = packed(self.serializer, plain)
        what = (
            f"{what} of task {task_id!r:.100}"
            if kind is not Kind.TASK
            else f"task {task_id!r:.100}"
        )
        self._check_size(what, len(payload))  # before it is encrypted
        signing, encryption = self.signing, self.encryption
        if self._is_bare:
            return payload
        header = Header(kind, self.serializer.name, task_id)
        if signing is not None:
            header = attrs.evolve(
                header, signature=signatures.ALGORITHM, signed_with=signing.keys.used
            )
        if encryption is not None:
            header = attrs.evolve(
                header, cipher=ciphers.ALGORITHM, encrypted_with=encryption.keys.used
            )
        head = header.to_bytes()
        data = head + (payload if encryption is None else encryption.seal(payload, head))
        if signing is not None:
            data += signing.sign(data)
        self._check_size(what, len(data))
        return data

    def _check_size(self, what: str, size: int) -> None:
        if self.size_limit is not None and size > self.size_limit:
            raise MessageTooLarge(what, size, self.size_limit)

    # --- reading ---

    def _decode(self, kind: Kind, data: object) -> tuple[str | None, Any]:
        """The task id in the header, None of bare JSON; and the envelope, which is plain data."""
        if not isinstance(data, bytes):
            if not isinstance(data, bytearray | memoryview):
                raise TypeError(f"expected {_KINDS[kind][0]} as bytes, got {type(data).__name__}")
            data = bytes(data)
        self._check_size(_KINDS[kind][0], len(data))
        task_id = None
        if data.lstrip(_WHITESPACE)[:1] == b"{":
            serializer = self._bare()
        else:
            header, begin = read_header(data)
            if header.kind is not kind:
                raise EnvelopeError(f"expected {_KINDS[kind][0]}, got {_KINDS[header.kind][0]}")
            task_id = header.task_id
            data = self._opened(header, data, begin)
            serializer = self._format(header.format)
        return task_id, unpacked(serializer, data, spare=_KINDS[kind][1])

    def _bare(self) -> Serializer:
        if self.signing is not None and not self.signing.accept_unsigned:
            raise EnvelopeError(_UNSIGNED)
        if self.encryption is not None and not self.encryption.accept_plain:
            raise EnvelopeError(_NOT_ENCRYPTED)
        return self._format(_JSON.name)

    def _opened(self, header: Header, data: bytes, begin: int) -> bytes:
        """The payload, whose signature is right and which is decrypted."""
        end = len(data)
        if header.signature or header.signed_with:
            end -= signatures.SIZE
            if end < begin:
                raise EnvelopeError("it ends in the middle: no room for its signature")
            if self.signing is None:
                raise EnvelopeError(
                    "it is signed, and no keys are known here to verify it; give them: "
                    "broker.with_signing({...})"
                )
            self.signing.verify(header.signature, header.signed_with, data[:end], data[end:])
        elif self.signing is not None and not self.signing.accept_unsigned:
            raise EnvelopeError(_UNSIGNED)
        payload = data[begin:end]
        if header.cipher or header.encrypted_with:
            if self.encryption is None:
                raise EnvelopeError(
                    "it is encrypted, and no keys are known here; give them: "
                    "broker.with_encryption({...})"
                )
            return self.encryption.open(header.cipher, header.encrypted_with, payload, data[:begin])
        if self.encryption is not None and not self.encryption.accept_plain:
            raise EnvelopeError(_NOT_ENCRYPTED)
        return payload

    def _format(self, name: str) -> Serializer:
        accepted = (self.serializer, *self.also)
        for serializer in accepted:
            if serializer.name == name:
                return serializer
        raise EnvelopeError(
            f"its format is {name!r:.100}, and only {', '.join(repr(each.name) for each in accepted)} "
            f"is read here; accept it too: broker.with_serializer(..., also=[...])"
        )


_UNSIGNED: Final = (
    "it is not signed, and only signed ones are accepted here; sign it, or for a time of change: "
    "with_signing(..., accept_unsigned=True)"
)
_NOT_ENCRYPTED: Final = (
    "it is not encrypted, and only encrypted ones are accepted here; encrypt it, or for a time of "
    "change: with_encryption(..., accept_plain=True)"
)


_PROBE: Final[Any] = {"a": [1, -1.5, "é", True, None, {}], "b": []}


def _check_format(serializer: object) -> None:
    """Found out when it is said, not at the first message."""
    if isinstance(serializer, type) or not isinstance(serializer, Serializer):
        raise TypeError(
            f"with_serializer() expects an object with a name, dumps(plain) and loads(data), such as "
            f"JSONSerializer(); got {serializer!r}"
        )
    name = serializer.name
    if not isinstance(name, str) or not name.isascii() or not 0 < len(name) <= 64:
        raise ValueError(
            f"with_serializer(): a format's name is 1 to 64 ASCII characters; got {name!r}"
        )
    try:
        back = unpacked(serializer, packed(serializer, _PROBE), spare=0)
    except (EnvelopeError, NotSerializable) as error:
        raise TypeError(
            f"with_serializer(): {serializer!r} cannot write and read {_PROBE!r}: {error}"
        ) from error
    if back != _PROBE:
        raise TypeError(f"with_serializer(): {serializer!r} makes {back!r} of {_PROBE!r}")


def _check_apart(signing: Signing | None, encryption: Encryption | None) -> None:
    if signing and encryption and signing.keys.shares_one_with(encryption.keys):
        raise ValueError("the same key signs and encrypts; make two: secrets.token_bytes(32) each")


def packed(serializer: Serializer, plain: Any) -> bytes:
    """Plain data in this format; `NotSerializable` if the format cannot write it."""
    try:
        data = serializer.dumps(plain)
    except ActorqError:
        raise
    except Exception as error:
        raise NotSerializable(
            f"the format {serializer.name!r} could not write it: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(data, bytes):
        raise NotSerializable(
            f"{type(serializer).__name__}.dumps must return bytes; it returned {type(data).__name__}"
        )
    return data


def unpacked(serializer: Serializer, data: bytes, *, spare: int) -> Any:
    """The plain data of these bytes; `EnvelopeError` if they are not of this format, or not plain."""
    try:
        loaded = serializer.loads(data)
        if type(serializer) is JSONSerializer and quick.is_surely_plain(data):
            return loaded
        return plain_data(loaded, spare=spare)
    except RecursionError:
        raise EnvelopeError("it is nested too deep to be read") from None
    except NotSerializable as error:
        raise EnvelopeError(f"it holds what is no plain data: {_short(error)}") from None
    except Exception as error:
        raise EnvelopeError(f"it is no {serializer.name}: {_short(error)}") from error


def _message_of(plain: Any) -> TaskMessage:
    return quick.message_of(plain) or TaskMessage.from_dict(plain)


def _believed(kind: Kind, read: Callable[[Any], Any], plain: Any) -> Any:
    """What the envelope's reader makes of plain data; its error short enough for a log."""
    try:
        return read(plain)
    except EnvelopeError as error:
        if len(str(error)) <= _LONGEST:
            raise
        raise EnvelopeError(_short(error)) from None
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise EnvelopeError(f"not {_KINDS[kind][0]}: {_short(error)}") from error


def _short(error: Exception) -> str:
    text = str(error)
    if isinstance(error, ActorqError):
        pass
    elif type(error) is not ValueError:
        text = f"{type(error).__name__}: {text}"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."


def _check_id(expected: str | None, got: str) -> None:
    if expected is not None and expected != got:
        raise EnvelopeError(
            f"it is that of task {got!r:.100}, where that of task {expected!r:.100} should be"
        )
