"""Bytes from anywhere: whatever they are, they are refused with `EnvelopeError` and nothing else."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import cbor2
import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actorq.errors import EnvelopeError
from actorq.message import TaskMessage
from actorq.options import TaskOptions
from actorq.progress import TaskProgress
from actorq.result import TaskResult
from actorq.wire import (
    CBORSerializer,
    Encryption,
    JSONSerializer,
    MsgpackSerializer,
    Serializer,
    Signing,
    Wire,
)
from actorq.wire.frame import Header, Kind
from strategies import examples


SIGNING = Signing({"s": b"s" * 32}, accept_unsigned=True)
ENCRYPTION = Encryption({"e": b"e" * 32}, accept_plain=True)
FORMATS: list[Serializer] = [JSONSerializer(), MsgpackSerializer(), CBORSerializer()]
#: Reads everything that any of the others writes.
READER = Wire(FORMATS[0], tuple(FORMATS[1:]), SIGNING, ENCRYPTION)
WRITERS = [
    Wire(each, (), signing, encryption)
    for each in FORMATS
    for signing in (None, SIGNING)
    for encryption in (None, ENCRYPTION)
]
MESSAGE = TaskMessage(
    "id",
    "mod:task",
    (1, 2.5, "é", None, [True, {"a": []}], 2**70),
    {"key": {"deep": [[]]}},
    TaskOptions().updated({"labels": {"l": [1]}, "timeout": 3.5}, where="test"),
    1e9,
)
RESULT: TaskResult[Any] = TaskResult(
    is_err=True,
    error=ExceptionGroup("g", [ValueError(1), KeyError("k")]),
    labels={"l": [1]},
    log="log",
)
PROGRESS = TaskProgress(progress=0.5, meta={"a": 1})
SEEDS = [
    data
    for wire in WRITERS
    for data in (
        wire.encode_message(MESSAGE),
        wire.encode_result("id", RESULT),
        wire.encode_progress("id", PROGRESS),
    )
]


def read(data: bytes) -> bool:
    """Whether somebody believes these bytes; anything but `EnvelopeError` is a failure."""
    believed = False
    for decode in (
        READER.decode_message,
        lambda data: READER.decode_result(data, "id"),
        lambda data: READER.decode_progress(data, "id"),
    ):
        try:
            value: Any = decode(data)
        except EnvelopeError as refusal:
            text = str(refusal)
            assert 0 < len(text) < 1000
            continue
        believed = True
        value.to_dict()
    return believed


def test_the_seeds_are_believed() -> None:
    """Or the mutations would be of nothing."""
    assert all(map(read, SEEDS))


@settings(max_examples=examples(500))
@given(st.binary(max_size=200))
def test_arbitrary_bytes(data: bytes) -> None:
    """With and without the beginning that makes somebody look."""
    read(data)
    read(b"{" + data)
    read(b"\xffAQ" + data)
    read(b"\xffAQ\x01T" + data)


@settings(max_examples=examples(500))
@given(st.sampled_from(["json", "msgpack", "cbor"]), st.sampled_from(Kind), st.binary(max_size=200))
def test_arbitrary_payloads(name: str, kind: Kind, payload: bytes) -> None:
    """Behind a header that is right."""
    read(Header(kind, name, "id").to_bytes() + payload)


@settings(max_examples=examples(1000))
@given(st.sampled_from(SEEDS), st.sampled_from(SEEDS), st.data())
def test_mutated_messages(seed: bytes, other: bytes, data: st.DataObject) -> None:
    """Bits flipped, bytes cut out, put in and taken from another message."""
    mutated = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(mutated)))
        match data.draw(st.sampled_from(["flip", "cut", "insert", "splice", "truncate"])):
            case "flip" if at < len(mutated):
                mutated[at] ^= 1 << data.draw(st.integers(0, 7))
            case "cut":
                del mutated[at : at + data.draw(st.integers(1, 20))]
            case "insert":
                mutated[at:at] = data.draw(st.binary(min_size=1, max_size=10))
            case "splice":
                begin = data.draw(st.integers(0, len(other)))
                mutated[at:] = other[begin:]
            case "truncate":
                del mutated[at:]
    read(bytes(mutated))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**400), 10**400)
    | st.sampled_from([10**18, -(10**400), 10**4299, 1e308, -1.0, "when_saved", "x" * 300])
    | st.floats()
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
FIELDS = sorted({*MESSAGE.to_dict(), *RESULT.to_dict(), *PROGRESS.to_dict()})


@settings(max_examples=examples(1000))
@given(
    st.sampled_from([MESSAGE.to_dict(), RESULT.to_dict(), PROGRESS.to_dict()]),
    st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=3), JSON, max_size=4),
    st.sampled_from(["json", "msgpack", "cbor"]),
)
def test_well_formed_nonsense(envelope: dict[str, Any], changes: dict[str, Any], name: str) -> None:
    """Fields of any shape: nothing that follows from their values is anything but a refusal."""
    changed = {**envelope, **changes}
    try:
        packed = {"json": lambda d: json.dumps(d).encode(), "msgpack": msgpack.packb}.get(
            name, cbor2.dumps
        )(changed)
    except (ValueError, OverflowError):  # this format cannot even say it
        return
    for kind in Kind:
        read(Header(kind, name, "id").to_bytes() + packed)


@pytest.mark.parametrize("depth", [99, 150, 990, 5_000, 300_000])
def test_deep_nesting(depth: int) -> None:
    """The stack is not the limit: deeper than 100 levels is refused, in every format."""
    payloads = {
        "json": b"[" * depth + b"]" * depth,
        "msgpack": b"\x91" * (depth - 1) + b"\x90",
        "cbor": b"\x81" * (depth - 1) + b"\x80",
    }
    begins = {"json": b'{"a":', "msgpack": b"\x81\xa1a", "cbor": b"\xa1aa"}
    ends = {"json": b"}", "msgpack": b"", "cbor": b""}
    for name, payload in payloads.items():
        for data in (payload, begins[name] * depth + payload + ends[name] * depth):
            assert not read(Header(Kind.TASK, name, "id").to_bytes() + data)
    assert not read(payloads["json"])
    assert not read(b'{"task_id": "a", "task_name": "b", "args": ' + payloads["json"] + b"}") or (
        depth <= 100
    )


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("json", b"[" + b"9" * 3_000_000 + b"]"),
        ("json", b'{"task_id":"a","task_name":"b","eta":1e' + b"9" * 1_000_000 + b"}"),
        ("msgpack", bytes.fromhex("dfffffffff")),
        ("msgpack", bytes.fromhex("c8ffff01") + b"\xff" * 0xFFFF),
        ("cbor", bytes.fromhex("c25a00200000") + b"\xff" * 0x200000),
        ("cbor", bytes.fromhex("bb7fffffffffffffff")),
        ("cbor", bytes.fromhex("7f") + bytes.fromhex("6161") * 100_000),
        ("cbor", bytes.fromhex("c48221c25a00100000") + b"\xff" * 0x100000),
    ],
)
def test_what_claims_to_be_huge_costs_no_more_than_its_bytes(name: str, payload: bytes) -> None:
    """Lengths that are lies, numbers of a million digits."""
    data = Header(Kind.TASK, name, "id").to_bytes() + payload
    tracemalloc.start()
    try:
        assert not read(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50 * 2**20
