"""MessagePack and CBOR: smaller than JSON, and read by programs that have no JSON at hand.

Both carry the same plain data as JSON does, and nothing else: no bytes, no dates, no tags.  What an
annotation turns into text for JSON is the same text here, so that a queue may change its format.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from actorq.errors import UnsupportedOption
from actorq.serialization import MAX_DEPTH
from actorq.wire.formats import unique


#: MessagePack ends at 64 bits: a larger int is this extension, as two's complement, big-endian.
BIG_INT: Final = 1
#: Levels that a reader follows; what is deeper than plain data may be is refused after it.
_DEPTH: Final = MAX_DEPTH * 2


class MsgpackSerializer:
    """MessagePack.  Needs `pip install "actorq[msgpack]"`; `UnsupportedOption` without it."""

    name = "msgpack"

    def __init__(self) -> None:
        self._msgpack = extra("msgpack", "msgpack", "MsgpackSerializer()")

    def dumps(self, plain: Any) -> bytes:
        """The bytes of plain data."""
        packed: bytes = self._msgpack.packb(plain, default=self._big_int)
        return packed

    def loads(self, data: bytes) -> Any:
        """The plain data of these bytes; `ValueError` if they are no MessagePack."""
        return self._msgpack.unpackb(data, object_pairs_hook=unique, ext_hook=_read_extension)

    def _big_int(self, value: Any) -> Any:
        if type(value) is not int:
            raise TypeError(f"no plain data: {type(value).__name__}")
        length = value.bit_length() // 8 + 1
        return self._msgpack.ExtType(BIG_INT, value.to_bytes(length, "big", signed=True))

    def __repr__(self) -> str:
        return "MsgpackSerializer()"


def _read_extension(code: int, data: bytes) -> int:
    if code != BIG_INT:
        raise ValueError(f"unknown extension type {code}")
    return int.from_bytes(data, "big", signed=True)


class CBORSerializer:
    """CBOR (RFC 8949).  Needs `pip install "actorq[cbor]"`; `UnsupportedOption` without it.

    No tags but 2 and 3, the ints of more than 64 bits.
    """

    name = "cbor"

    def __init__(self) -> None:
        self._cbor2 = extra("cbor2", "cbor", "CBORSerializer()")

    def dumps(self, plain: Any) -> bytes:
        """The bytes of plain data."""
        packed: bytes = self._cbor2.dumps(plain)
        return packed

    def loads(self, data: bytes) -> Any:
        """The plain data of these bytes; `ValueError` if they are no such CBOR."""
        stream = io.BytesIO(data)
        decoder = self._cbor2.CBORDecoder(
            stream, semantic_decoders=_NO_TAGS, max_depth=_DEPTH, allow_duplicate_keys=False
        )
        try:
            value = decoder.decode()
        except self._cbor2.CBORError as error:
            raise ValueError(
                f"{error}{f' ({error.__cause__})' if error.__cause__ else ''}"
            ) from None
        if stream.tell() != len(data):
            raise ValueError(f"{len(data) - stream.tell()} bytes follow after the end")
        return value

    def __repr__(self) -> str:
        return "CBORSerializer()"


class _NoTags(Mapping[int, Callable[[Any], Any]]):
    """Readers of tags: a tag can ask for a number of a billion digits, or for a circle."""

    def __getitem__(self, tag: int) -> Callable[[Any], Any]:
        if tag in (2, 3):  # large ints: the reader's own way
            raise KeyError(tag)
        raise ValueError(f"tag {tag} is not read here")

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 0


_NO_TAGS = _NoTags()


def extra(module: str, name: str, what: str) -> Any:
    """The module behind an extra; `UnsupportedOption` that says how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UnsupportedOption(
            f'{what} needs {module.split(".")[0]}: pip install "actorq[{name}]"'
        ) from None
