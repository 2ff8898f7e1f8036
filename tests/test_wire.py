"""The wire: formats, signing, encryption, size limits; what is believed, and what is refused."""

from __future__ import annotations

import ast
import itertools
import json
import pickle
import secrets
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import actorq
from actorq.errors import (
    EnvelopeError,
    MessageTooLarge,
    NotSerializable,
    OptionError,
    UnsupportedOption,
)
from actorq.limits import Pace, Permit
from actorq.message import TaskMessage, Terms
from actorq.options import TaskOptions
from actorq.progress import TaskProgress
from actorq.result import TaskResult
from actorq.serialization import MAX_DEPTH, dump, load
from actorq.unique import OnConflict, UniqueKey, Until
from actorq.wire import (
    SIZE_LIMIT,
    CBORSerializer,
    Encryption,
    JSONSerializer,
    MsgpackSerializer,
    Serializer,
    Signing,
    Wire,
)
from actorq.wire.frame import Header, Kind, read_header
from test_serialization import TYPES
from test_serialization import same as same_typed


KEYS = {name: bytes([n]) * 32 for n, name in enumerate(["one", "two", "three"])}
OTHERS = {name: bytes([n]) * 32 for n, name in enumerate(["eins", "zwei", "drei"], start=9)}


class Reversed:
    """A format of somebody's own: JSON, backwards."""

    name = "nosj"

    def dumps(self, plain: Any) -> bytes:
        return json.dumps(plain).encode()[::-1]

    def loads(self, data: bytes) -> Any:
        return json.loads(data[::-1])


FORMATS: list[Serializer] = [JSONSerializer(), MsgpackSerializer(), CBORSerializer(), Reversed()]
WIRES = [
    Wire(serializer, (), signing, encryption)
    for serializer in FORMATS
    for signing in (None, Signing(KEYS, use="two"))
    for encryption in (None, Encryption(OTHERS, use="zwei"))
]


def wire_id(wire: object) -> str:
    """Short, for the names of tests."""
    assert isinstance(wire, Wire)
    return "-".join(
        [
            wire.serializer.name,
            *(["signed"] * bool(wire.signing)),
            *(["aes"] * bool(wire.encryption)),
        ]
    )


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(2**62, 2**66)
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
SECONDS = st.floats(0.001, 1e9)
TERMS = st.builds(
    Terms,
    expires_at=st.none() | SECONDS,
    deadline=st.none() | SECONDS,
    unique=st.none()
    | st.builds(UniqueKey, TEXT, st.sampled_from(OnConflict), st.sampled_from(Until), st.none())
    | st.builds(UniqueKey, TEXT, st.sampled_from(OnConflict), st.just(Until.TIME), SECONDS),
    permits=st.lists(st.builds(Permit, TEXT, st.integers(1, 99)), max_size=2).map(tuple),
    paces=st.lists(
        st.builds(Pace, TEXT, st.integers(1, 99), SECONDS, st.booleans()), max_size=2
    ).map(tuple),
)
MESSAGES = st.builds(
    lambda task_id, name, args, kwargs, labels, eta, terms: TaskMessage(
        task_id,
        name,
        tuple(args),
        kwargs,
        TaskOptions().updated({"labels": labels}, where="test"),
        eta,
        1.5,
        terms,
    ),
    NAMES,
    NAMES,
    st.lists(PLAIN, max_size=3),
    st.dictionaries(NAMES, PLAIN, max_size=3),
    st.dictionaries(NAMES, PLAIN, max_size=3),
    st.none() | st.floats(0, 1e12),
    st.none() | TERMS,
)
MESSAGE = TaskMessage("id-1", "mod:task", (1, "é", [2.5, None]), {"k": {"deep": [True]}})


def same(left: Any, right: Any) -> bool:
    """Equal, and of equal types all the way down."""
    if type(left) is not type(right) or left != right:
        return False
    if isinstance(left, list):
        return all(map(same, left, right))
    if isinstance(left, dict):
        return all(same(item, right[key]) for key, item in left.items())
    return True


# --- there and back -------------------------------------------------------------------------------


@given(st.sampled_from(WIRES), MESSAGES)
def test_a_message_comes_back_from_every_wire(wire: Wire, message: TaskMessage) -> None:
    """A18, T39: arguments and labels of any JSON shape, in every format, signed, encrypted or not."""
    data = wire.encode_message(message)
    assert type(data) is bytes
    assert wire.decode_message(data).terms == message.terms
    assert same(wire.decode_message(data).to_dict(), message.to_dict())
    assert same(wire.decode_message(data, message.task_id).to_dict(), message.to_dict())


@given(st.sampled_from(WIRES), PLAIN, PLAIN, st.integers(1, 9))
def test_a_result_comes_back_from_every_wire(
    wire: Wire, value: Any, label: Any, attempts: int
) -> None:
    """A18: the labels too, of any JSON shape."""
    result: TaskResult[Any] = TaskResult(
        return_value=value, labels={"a": label}, attempts=attempts, log="x\n"
    )
    back = wire.decode_result(wire.encode_result("id", result), "id")
    assert same(back.to_dict(), result.to_dict())


@pytest.mark.parametrize("wire", WIRES, ids=wire_id)
def test_an_error_in_a_result_comes_back(wire: Wire) -> None:
    """T38: with its type, arguments, cause, notes and traceback, from every wire."""
    error = KeyError("k", 3)
    error.__cause__ = OSError(2, "no", "/x")
    error.add_note("a note")
    result: TaskResult[Any] = TaskResult(is_err=True, error=error)
    back = wire.decode_result(wire.encode_result("id", result), "id").error
    assert isinstance(back, KeyError)
    assert back.args == ("k", 3)
    assert back.__notes__ == ["a note"]
    assert isinstance(back.__cause__, FileNotFoundError)
    assert back.__cause__.filename == "/x"


@pytest.mark.parametrize("wire", WIRES, ids=wire_id)
def test_a_progress_comes_back(wire: Wire) -> None:
    """The third that engines keep."""
    progress = TaskProgress(progress=0.5, status="half", current=1, total=2, meta={"a": [1]})
    assert wire.decode_progress(wire.encode_progress("id", progress), "id") == progress


def test_the_default_is_json_that_everybody_can_read() -> None:
    """No frame, no spaces, and no escapes for what UTF-8 can say."""
    data = Wire().encode_message(MESSAGE)
    assert json.loads(data) == MESSAGE.to_dict()
    assert b'"args":[1,"\xc3\xa9",[2.5,null]]' in data


def test_white_space_round_json_is_no_matter() -> None:
    """A person may have written it."""
    data = b' \r\n\t{"task_id": "7",\n "task_name": "t"}\n'
    assert Wire().decode_message(data).task_id == "7"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_kind_of_bytes_is_read(kind: Any) -> None:
    """What a driver hands out."""
    for wire in WIRES:
        assert wire.decode_message(kind(wire.encode_message(MESSAGE))).task_id == "id-1"


@given(st.sampled_from(WIRES), TYPES.flatmap(lambda t: st.tuples(st.just(t[0]), t[1])))
def test_a_value_of_any_supported_type_comes_back_from_every_wire(
    wire: Wire, drawn: tuple[Any, Any]
) -> None:
    """T39: UUIDs, aware datetimes and all other types, with the default format as with any other."""
    annotation, value = drawn
    message = attrs.evolve(MESSAGE, args=(dump(value, annotation),))
    (read,) = wire.decode_message(wire.encode_message(message)).args
    assert same_typed(load(read, annotation), value)


# --- formats --------------------------------------------------------------------------------------


@pytest.mark.parametrize("serializer", FORMATS, ids=lambda each: each.name)
@pytest.mark.parametrize(
    "value",
    [
        *(0, -1, 2**31, 2**63, 2**64, -(2**63), -(2**63) - 1, 2**200, -(2**200), 10**4299),
        *(0.0, -0.0, 1.5, 5e-324, 1.7976931348623157e308, "", "é\0\U0001f600", True, None),
        *([], {}, [[]], {"": {}}, ["x"] * 70000, "x" * 70000, {str(n): n for n in range(70000)}),
    ],
    ids=lambda value: (
        repr(value)[:20]
        if not isinstance(value, int)
        else f"int{value:.3e}"
        if abs(value) < 10**300
        else "huge"
    ),
)
def test_the_edges_of_each_format(serializer: Serializer, value: Any) -> None:
    """T39: where a length or a number begins to take more bytes; ints beyond 64 bits too."""
    data = serializer.dumps(value)
    assert type(data) is bytes
    back = serializer.loads(data)
    assert same(back, value)
    assert repr(back)[:50] == repr(value)[:50] if value == 0 else True  # -0.0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": NaN}', "NaN is no JSON"),
        ("[Infinity]", "Infinity is no JSON"),
        ("[-Infinity]", "-Infinity is no JSON"),
        ("[1e999]", "the number 1e999 is more than a float can hold"),
        ('{"a": 1, "a": 2}', "the key 'a' comes twice"),
        ('{"a": {"b": 1, "b": 1}}', "the key 'b' comes twice"),
        ("[" + "1" * 4301 + "]", "4300"),
        ("[1] x", "Extra data"),
        ("\ufeff{}", "Expecting value"),
        ("[1,]", "Expecting value|Illegal trailing comma"),
        ("{'a': 1}", "Expecting property name"),
        ("", "Expecting value"),
    ],
)
def test_json_is_read_strictly(text: str, says: str) -> None:
    """What two readers might take for two different things is refused."""
    with pytest.raises(ValueError, match=says):
        JSONSerializer().loads(text.encode())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {"\udfff": 1}, b"", {1}])
def test_json_is_written_strictly(value: Any) -> None:
    """What other readers would choke on is not written."""
    with pytest.raises((ValueError, TypeError)):
        JSONSerializer().dumps(value)


def framed(serializer: str, payload: bytes) -> bytes:
    """As somebody else might write it."""
    return Header(Kind.TASK, serializer, "id").to_bytes() + payload


def envelope(args: bytes) -> bytes:
    """Bare JSON with these arguments."""
    return b'{"task_id": "id", "task_name": "t", "args": [' + args + b"]}"


@pytest.mark.parametrize(
    "args",
    [
        b'"\\ud800"',
        b'{"\\udead": 1}',
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"1" * 5000,
        b"-1e400",
    ],
    ids=["surrogate", "surrogate key", "deep", "very deep", "very deep dict", "huge", "-inf"],
)
def test_json_that_is_no_plain_data_is_refused(args: bytes) -> None:
    """Lone surrogates, too deep, too large: nothing that could not be written again."""
    with pytest.raises(EnvelopeError):
        Wire().decode_message(envelope(args))


@pytest.mark.parametrize(
    ("serializer", "payload", "says"),
    [
        (MsgpackSerializer(), bytes.fromhex("81a161c40100"), "JSON cannot carry bytes"),
        (MsgpackSerializer(), bytes.fromhex("81a161d6ff00000000"), "carry Timestamp"),
        (MsgpackSerializer(), bytes.fromhex("81a161d40500"), "unknown extension type 5"),
        (MsgpackSerializer(), bytes.fromhex("82a16101a16102"), "the key 'a' comes twice"),
        (MsgpackSerializer(), bytes.fromhex("810102"), "int is not allowed for map key"),
        (MsgpackSerializer(), bytes.fromhex("81a161cb7ff8000000000000"), "carry the float nan"),
        (MsgpackSerializer(), bytes.fromhex("8080"), "extra data"),
        (MsgpackSerializer(), bytes.fromhex("ddffffffff"), "exceeds max_array_len"),
        (MsgpackSerializer(), bytes.fromhex("c6ffffffff"), "incomplete input"),
        (MsgpackSerializer(), b"\x91" * 100_000, "no msgpack"),
        (CBORSerializer(), bytes.fromhex("a1616141ff"), "JSON cannot carry bytes"),
        (CBORSerializer(), bytes.fromhex("a16161c11a00000000"), "tag 1 is not read here"),
        (CBORSerializer(), bytes.fromhex("a16161c4821a7fffffff01"), "tag 4 is not read here"),
        (CBORSerializer(), bytes.fromhex("a16161c5821a7fffffff01"), "tag 5 is not read here"),
        (CBORSerializer(), bytes.fromhex("a16161d81c81d81d00"), "tag 28 is not read here"),
        (CBORSerializer(), bytes.fromhex("a2616101616102"), "Duplicate map key"),
        (CBORSerializer(), bytes.fromhex("a16161fb7ff8000000000000"), "carry the float nan"),
        (CBORSerializer(), bytes.fromhex("a16161f7"), "carry UndefinedType"),
        (CBORSerializer(), bytes.fromhex("a10102"), "a key is int 1"),
        (CBORSerializer(), bytes.fromhex("a0a0"), "1 bytes follow after the end"),
        (CBORSerializer(), bytes.fromhex("9bffffffffffffffff"), "premature end"),
        (CBORSerializer(), bytes.fromhex("5bffffffffffffffff"), "premature end"),
        (CBORSerializer(), b"\x81" * 100_000, "nesting depth"),
    ],
)
def test_what_json_has_no_place_for_is_not_read_from_other_formats(
    serializer: Serializer, payload: bytes, says: str
) -> None:
    """So that every format carries the same, and none can blow up what it says."""
    with pytest.raises(EnvelopeError, match=says):
        Wire(serializer).decode_message(framed(serializer.name, payload))


def test_a_value_that_is_no_plain_data_is_refused_when_it_is_written() -> None:
    """By its path: a middleware may have put it there; the format alone would carry it."""
    for wire in WIRES:
        for value in (b"bytes", {1: 2}, object(), float("nan"), "\ud800", {1, 2}):
            with pytest.raises(NotSerializable, match=r"^\$\.args\[0\]"):
                wire.encode_message(attrs.evolve(MESSAGE, args=(value,)))


@pytest.mark.parametrize("wire", WIRES, ids=wire_id)
def test_what_is_written_is_never_too_deep_to_be_read(wire: Wire) -> None:
    """The same limit on both sides."""

    def nested(depth: int) -> Any:
        value: Any = []
        for _ in range(depth - 1):
            value = [value]
        return value

    deepest = nested(MAX_DEPTH - 1)  # in the list of arguments
    data = wire.encode_message(attrs.evolve(MESSAGE, args=(deepest,)))
    assert wire.decode_message(data).args == (deepest,)
    with pytest.raises(NotSerializable, match="nested deeper"):
        wire.encode_message(attrs.evolve(MESSAGE, args=([deepest],)))
    error: Exception = ValueError(nested(MAX_DEPTH - 2))
    for _ in range(10):
        error = ExceptionGroup("g", [error])
    data = wire.encode_result("id", TaskResult(is_err=True, error=error))
    assert isinstance(wire.decode_result(data, "id").error, ExceptionGroup)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (json, r"expects an object with a name, dumps\(plain\) and loads\(data\)"),
        (pickle, "such as JSONSerializer()"),
        (JSONSerializer, "expects an object"),
        (None, "expects an object"),
    ],
)
def test_something_that_is_no_format_is_refused_when_it_is_said(given: Any, says: str) -> None:
    """A module with dumps and loads is none: it has no name, and `json.dumps` gives text."""
    with pytest.raises(TypeError, match="expects an object"):
        actorq.InMemoryBroker().with_serializer(given)


class Format:
    """Wrong in some way."""

    def __init__(self, dumps: Any = None, loads: Any = None, name: Any = "x") -> None:
        self.dumps: Any = dumps or (lambda plain: json.dumps(plain).encode())
        self.loads: Any = loads or json.loads
        self.name = name


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        (Format(json.dumps), TypeError, "dumps must return bytes; it returned str"),
        (Format(lambda plain: 1 / 0), TypeError, "ZeroDivisionError"),
        (Format(loads=lambda data: 1 / 0), TypeError, "ZeroDivisionError"),
        (Format(loads=lambda data: {"a": 1}), TypeError, "makes {'a': 1} of"),
        (Format(loads=lambda data: b"x"), TypeError, "JSON cannot carry bytes"),
        (Format(name=""), ValueError, "a format's name is 1 to 64 ASCII characters"),
        (Format(name="é"), ValueError, "a format's name"),
        (Format(name=None), ValueError, "a format's name"),
        (Format(name="x" * 65), ValueError, "a format's name"),
    ],
)
def test_a_format_that_cannot_do_it_is_found_out_when_it_is_said(
    given: Any, error: type[Exception], says: str
) -> None:
    """It is tried with a small value."""
    with pytest.raises(error, match="with_serializer") as caught:
        actorq.InMemoryBroker().with_serializer(given)
    assert says in str(caught.value)


def test_two_formats_of_one_name_are_refused() -> None:
    """The header could not tell them apart."""
    with pytest.raises(ValueError, match="two formats have one name"):
        actorq.InMemoryBroker().with_serializer(JSONSerializer(), also=[Format(name="json")])


class Moody:
    """A format that fails when it matters."""

    name = "moody"
    sick = False

    def dumps(self, plain: Any) -> bytes:
        if self.sick:
            raise OSError("no")
        return json.dumps(plain).encode()

    def loads(self, data: bytes) -> Any:
        if self.sick:
            raise OSError("no")
        return json.loads(data)


def test_whatever_a_format_raises_is_told_as_what_it_means() -> None:
    """Its own error is the cause."""
    serializer = Moody()
    wire = Wire().written_as(serializer)
    data = wire.encode_message(MESSAGE)
    serializer.sick = True
    with pytest.raises(NotSerializable, match="'moody' could not write it: OSError: no") as caught:
        wire.encode_message(MESSAGE)
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(EnvelopeError, match="it is no moody: OSError: no") as told:
        wire.decode_message(data)
    assert isinstance(told.value.__cause__, OSError)


def test_a_format_is_changed_while_messages_of_the_old_one_are_left() -> None:
    """`also=`; without it the error says so."""
    old, new = Wire(), Wire().written_as(MsgpackSerializer(), (JSONSerializer(),))
    assert new.decode_message(old.encode_message(MESSAGE)).task_id == "id-1"
    assert new.decode_message(new.encode_message(MESSAGE)).task_id == "id-1"
    with pytest.raises(EnvelopeError, match=r"format is 'msgpack', and only 'json' is read here"):
        old.decode_message(new.encode_message(MESSAGE))
    only_new = Wire().written_as(MsgpackSerializer())
    with pytest.raises(EnvelopeError, match=r"accept it too: .*also="):
        only_new.decode_message(old.encode_message(MESSAGE))


@pytest.mark.parametrize(
    ("module", "make", "extra"),
    [
        ("msgpack", MsgpackSerializer, "msgpack"),
        ("cbor2", CBORSerializer, "cbor"),
        (
            "cryptography.hazmat.primitives.ciphers.aead",
            lambda: Encryption({"a": b"x" * 32}),
            "crypto",
        ),
    ],
)
def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, module: str, make: Any, extra: str
) -> None:
    """With the command that installs it."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UnsupportedOption, match=rf'pip install "actorq\[{extra}\]"'):
        make()


def test_a_pickle_is_never_read() -> None:
    """A40: not by default, not from any of the formats, and nothing of the package could."""

    class Bomb:
        def __reduce__(self) -> Any:
            return (pytest.fail, ("it was unpickled",))

    bomb = pickle.dumps({"task_id": "a", "task_name": Bomb()})
    for wire in WIRES:
        for data in (bomb, framed(wire.serializer.name, bomb), framed("pickle", bomb)):
            with pytest.raises(EnvelopeError):
                wire.decode_message(data)
    for path in Path(actorq.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {"pickle", "marshal", "shelve", "dill", "cloudpickle"} & set(names), path


# --- signing --------------------------------------------------------------------------------------


SIGNED = Wire(signing=Signing({"2025-01": KEYS["one"]}))


def test_what_is_not_signed_is_refused() -> None:
    """And the error says what to do for the time of a change."""
    with pytest.raises(EnvelopeError, match="it is not signed, and only signed ones"):
        SIGNED.decode_message(Wire().encode_message(MESSAGE))
    with pytest.raises(EnvelopeError, match="it is not signed, and only signed ones"):
        SIGNED.decode_message(framed("json", Wire().encode_message(MESSAGE)))
    lenient = Wire(signing=Signing(KEYS, use="one", accept_unsigned=True))
    assert lenient.decode_message(Wire().encode_message(MESSAGE)).task_id == "id-1"


def test_what_is_signed_needs_somebody_who_knows_the_keys() -> None:
    """A reader without keys does not believe it either."""
    with pytest.raises(EnvelopeError, match="no keys are known here to verify it"):
        Wire().decode_message(SIGNED.encode_message(MESSAGE))


def test_a_signature_with_another_key_is_refused() -> None:
    """Under the same id, or under one that is not known."""
    forged = Wire(signing=Signing({"2025-01": KEYS["two"]})).encode_message(MESSAGE)
    with pytest.raises(EnvelopeError, match="the signature is wrong"):
        SIGNED.decode_message(forged)
    foreign = Wire(signing=Signing({"other": KEYS["one"]})).encode_message(MESSAGE)
    with pytest.raises(EnvelopeError, match=r"key 'other', which is not accepted.*'2025-01'"):
        SIGNED.decode_message(foreign)


def test_another_algorithm_is_refused() -> None:
    """Also none at all: the header does not choose how it is believed."""
    for algorithm in ("none", "HS512", "", "hs256"):
        header = Header(Kind.TASK, "json", "id-1", algorithm, "2025-01").to_bytes()
        body = header + Wire().encode_message(MESSAGE)
        assert SIGNED.signing is not None
        with pytest.raises(EnvelopeError, match="only HS256 is accepted"):
            SIGNED.decode_message(body + SIGNED.signing.sign(body))


WRITTEN = {wire_id(wire): (wire, wire.encode_message(MESSAGE)) for wire in WIRES}
PROTECTED = [name for name in WRITTEN if "signed" in name or "aes" in name]


@given(st.sampled_from(PROTECTED), st.data())
def test_no_changed_byte_is_believed(name: str, data: st.DataObject) -> None:
    """One bit, anywhere: header, payload, nonce, tag or signature."""
    wire, written = WRITTEN[name]
    place = data.draw(st.integers(0, len(written) - 1))
    changed = bytearray(written)
    changed[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(EnvelopeError):
        wire.decode_message(bytes(changed))


@given(st.sampled_from(PROTECTED), st.data())
def test_no_shortened_message_is_believed(name: str, data: st.DataObject) -> None:
    """Nor one with something at its end."""
    wire, written = WRITTEN[name]
    with pytest.raises(EnvelopeError):
        wire.decode_message(written[: data.draw(st.integers(0, len(written) - 1))])
    with pytest.raises(EnvelopeError):
        wire.decode_message(written + data.draw(st.binary(min_size=1, max_size=40)))


@pytest.mark.parametrize("name", PROTECTED)
def test_a_payload_is_bound_to_its_task(name: str) -> None:
    """Neither another id in front of it, nor another kind, nor another place to be kept at."""
    wire, written = WRITTEN[name]
    header, begin = read_header(written)
    for other in (attrs.evolve(header, task_id="id-2"), attrs.evolve(header, kind=Kind.RESULT)):
        with pytest.raises(EnvelopeError):
            wire.decode_message(other.to_bytes() + written[begin:])
    with pytest.raises(EnvelopeError, match="that of task 'id-1', where that of task 'id-2'"):
        wire.decode_message(written, "id-2")
    result = wire.encode_result("id-1", TaskResult(return_value=1))
    with pytest.raises(EnvelopeError, match="that of task 'id-2', where that of task 'id-1'"):
        wire.decode_result(result, "id-2")
    with pytest.raises(EnvelopeError, match="expected a task message, got a result"):
        wire.decode_message(result)


@pytest.mark.parametrize("choose", ["with_signing", "with_encryption"])
def test_keys_are_changed_without_a_stop(choose: str) -> None:
    """First everybody accepts the new one, then it is used, then the old one goes."""

    def wire(*names: str, use: str) -> Wire:
        broker = actorq.InMemoryBroker()
        getattr(broker, choose)({name: KEYS[name] for name in names}, use=use)
        return broker.wire

    steps = [
        wire("one", use="one"),
        wire("one", "two", use="one"),
        wire("one", "two", use="two"),
        wire("two", use="two"),
    ]
    for before, after in itertools.pairwise(steps):
        for writer, reader in ((before, after), (after, before)):
            assert reader.decode_message(writer.encode_message(MESSAGE)).task_id == "id-1"
    with pytest.raises(EnvelopeError, match="'one', which is not accepted here"):
        steps[3].decode_message(steps[0].encode_message(MESSAGE))


@pytest.mark.parametrize("choose", ["with_signing", "with_encryption"])
@pytest.mark.parametrize(
    ("keys", "use", "error", "says"),
    [
        ({}, None, TypeError, "got an empty mapping"),
        (b"x" * 32, None, TypeError, "expects keys by their ids, such as {'2025-01': key}"),
        ({"a": "x" * 32}, None, TypeError, "the key 'a' must be bytes"),
        ({"a": b"x" * 31}, None, ValueError, "32 bytes, random ones (secrets.token_bytes(32))"),
        ({"": b"x" * 32}, None, ValueError, "a key's id is 1 to 64 ASCII characters"),
        ({1: b"x" * 32}, None, ValueError, "a key's id is 1 to 64 ASCII characters"),
        (KEYS, None, ValueError, "say which one is used for what is written: use='one'"),
        (KEYS, "four", ValueError, "use='four' names no key"),
    ],
)
def test_keys_that_are_none_are_refused_when_they_are_said(
    choose: str, keys: Any, use: Any, error: type[Exception], says: str
) -> None:
    """With what was expected."""
    with pytest.raises(error, match=choose) as caught:
        getattr(actorq.InMemoryBroker(), choose)(keys, use=use)
    assert says in str(caught.value)
    assert "xxxx" not in str(caught.value)


def test_a_key_shows_nowhere() -> None:
    """Not in the repr of anything that holds it."""
    key = secrets.token_bytes(32)
    other = bytes(32)
    broker = actorq.InMemoryBroker().with_signing({"a": key}).with_encryption({"b": other})
    shown = repr(broker.wire) + repr(broker.wire.signing) + repr(broker.wire.encryption)
    assert "'a'" in shown
    assert repr(key)[2:10] not in shown
    assert key.hex()[:8] not in shown


def test_one_key_for_both_is_refused() -> None:
    """In whichever order they are chosen."""
    broker = actorq.InMemoryBroker()
    with pytest.raises(ValueError, match="the same key signs and encrypts"):
        broker.with_signing({"a": b"k" * 32}).with_encryption({"b": b"k" * 32})
    with pytest.raises(ValueError, match="the same key signs and encrypts"):
        actorq.InMemoryBroker().with_encryption({"b": b"k" * 32}).with_signing({"a": b"k" * 32})


# --- encryption -----------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", [each for each in WIRES if each.encryption], ids=wire_id)
def test_what_is_encrypted_tells_nothing(wire: Wire) -> None:
    """Neither arguments nor the task's name; the same message never looks the same."""
    message = attrs.evolve(MESSAGE, args=("a secret",))
    one, two = wire.encode_message(message), wire.encode_message(message)
    assert b"secret" not in one[::-1] + one
    assert b"mod:task" not in one[::-1] + one
    assert b"id-1" in one
    assert one != two
    assert wire.decode_message(one).args == wire.decode_message(two).args == ("a secret",)


def test_what_is_not_encrypted_is_refused() -> None:
    """And the error says what to do for the time of a change."""
    wire = Wire(encryption=Encryption({"a": b"k" * 32}))
    with pytest.raises(EnvelopeError, match="it is not encrypted, and only encrypted ones"):
        wire.decode_message(Wire().encode_message(MESSAGE))
    with pytest.raises(EnvelopeError, match="it is not encrypted, and only encrypted ones"):
        wire.decode_message(framed("json", Wire().encode_message(MESSAGE)))
    lenient = Wire(encryption=Encryption({"a": b"k" * 32}, accept_plain=True))
    assert lenient.decode_message(Wire().encode_message(MESSAGE)).task_id == "id-1"
    with pytest.raises(EnvelopeError, match="it is encrypted, and no keys are known here"):
        Wire().decode_message(wire.encode_message(MESSAGE))
    with pytest.raises(EnvelopeError, match="it cannot be decrypted"):
        Wire(encryption=Encryption({"a": b"K" * 32})).decode_message(wire.encode_message(MESSAGE))


# --- size -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", WIRES, ids=wire_id)
def test_the_limit_is_exact_and_the_error_says_what_to_do(wire: Wire) -> None:
    """The whole counts, header and signature included."""
    size = len(wire.encode_message(MESSAGE))
    assert wire.limited(size).encode_message(MESSAGE)
    with pytest.raises(
        MessageTooLarge, match=r"task 'id-1' has \d+ bytes, and the limit"
    ) as caught:
        wire.limited(size - 1).encode_message(MESSAGE)
    assert f"broker.with_size_limit({caught.value.size})" in str(caught.value)
    assert caught.value.limit == size - 1
    with pytest.raises(MessageTooLarge):
        wire.limited(size - 1).decode_message(wire.encode_message(MESSAGE))
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.size) == (str(caught.value), caught.value.size)


def test_the_limit_unless_told() -> None:
    """4 MiB; None lifts it."""
    large = attrs.evolve(MESSAGE, args=("x" * SIZE_LIMIT,))
    with pytest.raises(MessageTooLarge):
        Wire().encode_message(large)
    assert len(Wire().limited(None).encode_message(large)) > SIZE_LIMIT == 4 * 2**20
    with pytest.raises(MessageTooLarge, match="a result of task 'id'"):
        Wire().encode_result("id", TaskResult(return_value="x" * SIZE_LIMIT))


@pytest.mark.parametrize(
    ("limit", "error"), [("1", TypeError), (True, TypeError), (1.5, TypeError), (0, ValueError)]
)
def test_a_limit_that_is_none_is_refused_when_it_is_said(
    limit: Any, error: type[Exception]
) -> None:
    """Bytes, or None."""
    with pytest.raises(error, match="with_size_limit"):
        actorq.InMemoryBroker().with_size_limit(limit)


# --- labels ---------------------------------------------------------------------------------------


@actorq.task
async def labelled() -> None:
    """Does nothing."""


@pytest.mark.parametrize("value", [b"bytes", {1}, object(), float("nan")])
def test_a_label_that_json_cannot_carry_is_refused_when_it_is_said(value: Any) -> None:
    """A18: bytes are refused by name, where taskiq loses the task on its way back."""
    with pytest.raises(OptionError, match=r"labels travel as JSON: \$\.a: JSON cannot carry"):
        labelled.using(labels={"a": value})
