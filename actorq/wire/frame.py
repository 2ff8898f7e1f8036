"""The frame: a header in front of a payload, versioned, that says what the payload is.

    FF 41 51          magic; FF is in no UTF-8, so no JSON text begins like this
    01                the version of this layout
    54 | 52 | 50      "T" a task, "R" a result, "P" a progress
    six texts         each: its length in two bytes, big-endian, then as many bytes of UTF-8:
                      format, task id, signature algorithm, its key id, cipher, its key id
    payload           to the end, or to the signature
    signature         32 bytes, if there is a signature algorithm

Read before anything is known to be true: every length is checked against what is there.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

import attrs

from actorq.errors import EnvelopeError


MAGIC: Final = b"\xffAQ"
VERSION: Final = 1


class Kind(Enum):
    """What a payload is."""

    TASK = b"T"
    RESULT = b"R"
    PROGRESS = b"P"


@attrs.frozen
class Header:
    """What stands in front of a payload.  An empty text: not signed, not encrypted."""

    kind: Kind
    format: str
    task_id: str
    signature: str = ""  #: the algorithm
    signed_with: str = ""  #: the id of the key
    cipher: str = ""  #: the algorithm
    encrypted_with: str = ""  #: the id of the key

    def to_bytes(self) -> bytes:
        """Magic, version, kind and the six texts; `EnvelopeError` if one is too long."""
        parts = [MAGIC, bytes([VERSION]), self.kind.value]
        for name in _TEXTS:
            text: bytes = getattr(self, name).encode()
            if len(text) > 0xFFFF:
                raise EnvelopeError(f"{name} has {len(text)} bytes; a header holds 65535")
            parts += (len(text).to_bytes(2), text)
        return b"".join(parts)


_TEXTS: Final = (
    "format",
    "task_id",
    "signature",
    "signed_with",
    "cipher",
    "encrypted_with",
)


def read_header(data: bytes) -> tuple[Header, int]:
    """The header of these bytes and where it ends; `EnvelopeError` if they have none."""
    if not data.startswith(MAGIC):
        raise EnvelopeError(
            f"neither JSON nor actorq's frame: it begins with {data[:4].hex(' ') or 'nothing'}"
        )
    if len(data) < len(MAGIC) + 2:
        raise EnvelopeError("it ends in the middle of its header")
    version, kind = data[3], data[4:5]
    if version != VERSION:
        raise EnvelopeError(
            f"this version of actorq reads frames of version {VERSION}; this one is of version "
            f"{version}: update actorq where it is read"
        )
    try:
        known = Kind(kind)
    except ValueError:
        raise EnvelopeError(f"{kind!r} is no kind of payload: T, R and P are") from None
    texts: list[str] = []
    position = 5
    for name in _TEXTS:
        text, position = _read_text(data, position, name)
        texts.append(text)
    return Header(known, *texts), position


def _read_text(data: bytes, position: int, name: str) -> tuple[str, int]:
    begin = position + 2
    end = begin + int.from_bytes(data[position:begin])
    if begin > len(data) or end > len(data):
        raise EnvelopeError(f"it ends in the middle of its header: in {name}")
    try:
        return str(data[begin:end], "utf-8"), end
    except UnicodeDecodeError:
        raise EnvelopeError(f"the header's {name} is no UTF-8") from None
