"""The memory engine with bytes in it, as other engines have: what is stored, and what cannot be read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import attrs
import pydantic
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

import actorq
from actorq.engines.memory.sealed import Sealed, seal, seal_anyhow, unseal
from actorq.errors import (
    DuplicateTaskId,
    EnvelopeError,
    MessageTooLarge,
    NotSerializable,
    ResultGetError,
)
from actorq.message import TaskMessage
from actorq.protocol import Ending, Settlement
from actorq.testing import Tape, schedules, simulate
from actorq.wire import CBORSerializer, JSONSerializer, MsgpackSerializer, Wire
from strategies import examples


KEYS = {"one": b"1" * 32, "two": b"2" * 32}
OTHERS = {"eins": b"a" * 32}


class Photo(pydantic.BaseModel):
    name: str
    taken: datetime


@dataclass
class Thumbnail:
    of: Photo
    data: bytes


@actorq.task
async def shrink(photo: Photo, width: int, *, labels: frozenset[str] = frozenset()) -> Thumbnail:
    """Typed in, typed out."""
    assert type(photo) is Photo
    assert type(labels) is frozenset
    return Thumbnail(photo, b"x" * width)


@actorq.task
async def echo(value: Any) -> Any:
    """What it is given."""
    return value


PHOTO = Photo(name="é", taken=datetime(2024, 5, 1, tzinfo=UTC))


def broker(**options: Any) -> actorq.InMemoryBroker:
    """One that keeps bytes."""
    return actorq.InMemoryBroker(encoded=True, **options)


CHOICES = {
    "json": lambda: broker(),
    "msgpack": lambda: broker().with_serializer(MsgpackSerializer()),
    "cbor": lambda: broker().with_serializer(CBORSerializer()),
    "signed": lambda: broker().with_signing(KEYS, use="two"),
    "encrypted": lambda: broker().with_encryption(OTHERS),
    "all": lambda: (
        broker()
        .with_serializer(CBORSerializer(), also=[JSONSerializer()])
        .with_signing(KEYS, use="one")
        .with_encryption(OTHERS)
        .with_size_limit(10_000)
    ),
}


def stored(broker: actorq.InMemoryBroker) -> list[bytes]:
    """The bytes of what has not ended."""
    found = []
    for entry in broker.queue.live.values():
        (sealed,) = entry.message.args
        assert isinstance(sealed, Sealed)
        assert not entry.message.kwargs
        found.append(sealed.data)
    return found


@pytest.mark.parametrize("choice", CHOICES)
def test_typed_arguments_and_results_survive_every_wire(choice: str) -> None:
    """T27, T28: dataclasses and pydantic models, by position and by name, and back to the caller."""
    made = CHOICES[choice]()

    async def main() -> None:
        async with actorq.open_system(made) as sys:
            later = shrink.using(delay=5)
            handle = await sys.enqueue(later, PHOTO, 3, labels=frozenset({"a"}))
            (data,) = stored(made)
            assert made.wire.decode_message(data, handle.task_id).args[1] == 3
            assert await handle.result() == Thumbnail(PHOTO, b"xxx")
            assert (await handle.wait_result()).return_value == Thumbnail(PHOTO, b"xxx")
            (kept,) = made.result_backend.table.results.values()  # type: ignore[attr-defined]
            assert type(kept.return_value) is bytes

    simulate(main)


@pytest.mark.parametrize("choice", CHOICES)
def test_errors_survive_every_wire(choice: str) -> None:
    """T38: their own type, their cause and the worker's traceback."""

    @actorq.task
    async def fail() -> None:
        try:
            raise KeyError(("a", 1))
        except KeyError as cause:
            raise FileNotFoundError(2, "none", "/x") from cause

    async def main() -> None:
        async with actorq.open_system(CHOICES[choice]()) as sys:
            with pytest.raises(FileNotFoundError) as caught:
                await (await sys.enqueue(fail)).result()
            assert caught.value.filename == "/x"
            assert isinstance(caught.value.__cause__, KeyError)
            assert caught.value.__cause__.args == (("a", 1),)
            assert "in fail" in str(caught.value.__cause__.__cause__)

    simulate(main)


LABELS = {
    "list": [1, [2.5, None]],
    "dict": {"a": {"b": True}},
    "none": None,
    "text": "é",
    "n": 2**70,
}


@pytest.mark.parametrize("choice", CHOICES)
def test_labels_of_any_shape_survive_a_retry(choice: str) -> None:
    """A18: in each attempt, in the result, and in nobody else's."""
    seen: list[Any] = []

    @actorq.task(retries=2)
    async def flaky(ctx: actorq.Context = actorq.Depends()) -> None:
        seen.append(ctx.message.labels)
        if len(seen) < 3:
            raise ValueError("again")

    async def main() -> None:
        async with actorq.open_system(CHOICES[choice]()) as sys:
            handle = await sys.enqueue(flaky.using(labels=LABELS))
            other = await sys.enqueue(echo, 1)
            assert (await handle.wait_result()).labels == LABELS
            assert (await other.wait_result()).labels == {}
        assert seen == [LABELS] * 3

    simulate(main)


# --- what cannot be written -----------------------------------------------------------------------


def test_what_is_too_large_is_refused_to_who_enqueues() -> None:
    """All of them or none; and the error says what to do."""

    async def main() -> None:
        async with actorq.open_system(broker().with_size_limit(1000)) as sys:
            with pytest.raises(MessageTooLarge, match=r"limit is 1000.*with_size_limit") as caught:
                await sys.enqueue(echo, "x" * 1000)
            assert caught.value.size > 1000
            with pytest.raises(MessageTooLarge):
                await sys.enqueue_many(echo, [("small",), ("x" * 1000,)])
            counts = await sys.queue_statistics()
            assert counts.ready + counts.leased + counts.done == 0
            assert await (await sys.enqueue(echo, "x" * 100)).result() == "x" * 100

    simulate(main)


def test_a_broker_without_bytes_counts_them_only_if_it_is_told_a_limit() -> None:
    """It would have to encode each message for it."""

    async def main() -> None:
        plain = actorq.InMemoryBroker()
        async with actorq.open_system(plain) as sys:
            assert len(await (await sys.enqueue(echo, "x" * 5 * 2**20)).result()) == 5 * 2**20
        limited = actorq.InMemoryBroker().with_size_limit(1000)
        async with actorq.open_system(limited) as sys:
            assert await (await sys.enqueue(echo, 1)).result() == 1
            with pytest.raises(MessageTooLarge):
                await sys.enqueue(echo, "x" * 1000)
        lifted = actorq.InMemoryBroker().with_size_limit(1000).with_size_limit(None)
        async with actorq.open_system(lifted) as sys:
            assert await (await sys.enqueue(echo, "x" * 1000)).result() == "x" * 1000

    simulate(main)


class Spoils(actorq.Middleware):
    """Puts something into the message that no format can carry."""

    async def pre_send(self, message: TaskMessage) -> TaskMessage:
        return attrs.evolve(message, args=(object(),))


def test_what_a_middleware_spoils_is_refused_to_who_enqueues() -> None:
    """With its path; nothing is stored."""

    async def main() -> None:
        async with actorq.open_system(broker().with_middlewares(Spoils())) as sys:
            with pytest.raises(NotSerializable, match=r"\$\.args\[0\]: JSON cannot carry object"):
                await sys.enqueue(echo, 1)
            assert (await sys.queue_statistics()).ready == 0

    simulate(main)


def test_a_result_that_is_too_large_is_told_to_who_waits() -> None:
    """As any result that cannot be stored: nobody waits for ever, and the task is a dead letter."""

    async def main() -> None:
        async with actorq.open_system(broker().with_size_limit(1000)) as sys:

            @actorq.task
            async def grow() -> str:
                return "x" * 2000

            handle = await sys.enqueue(grow)
            with pytest.raises(ResultGetError, match="MessageTooLarge"):
                await handle.result()
            await sys.wait_idle()
            (dead,) = await sys.dead_tasks()
            assert "MessageTooLarge" in dead.reason

    simulate(main)


def test_sending_again_is_harmless_though_the_bytes_differ() -> None:
    """31. Each encryption gives other bytes; another call of the same id is refused all the same."""

    async def main() -> None:
        async with actorq.open_system(broker().with_encryption(OTHERS)) as sys:
            once = echo.using(task_id="once", delay=5)
            await sys.enqueue(once, 1)
            await trio.sleep(1)
            handle = await sys.enqueue(once, 1)
            with pytest.raises(DuplicateTaskId):
                await sys.enqueue(once, 2)
            assert await handle.result() == 1
            assert (await sys.queue_statistics()).done == 1

    simulate(main)


# --- what cannot be read --------------------------------------------------------------------------


@settings(deadline=None, max_examples=examples(40))
@given(schedules(max_size=60), st.lists(st.sampled_from([None, "flip", "cut", "key"]), max_size=8))
def test_what_cannot_be_decoded_hurts_nobody_else(tape: Tape, damages: list[str | None]) -> None:
    """42, T21: it goes to the dead letters with its reason, its waiters hear it, all others run."""
    made = broker().with_signing({"one": KEYS["one"]})
    foreign = Wire().signed(actorq.InMemoryBroker().with_signing({"one": b"f" * 32}).wire.signing)  # type: ignore[arg-type]

    async def main() -> None:
        async with actorq.open_system(made, concurrency=2) as sys:
            handles = [await sys.enqueue(echo.using(delay=5), n) for n in range(len(damages))]
            entries = made.queue.live
            for handle, damage in zip(handles, damages, strict=True):
                sealed: Any = entries[handle.task_id].message.args[0]
                if damage == "flip":
                    sealed.data = sealed.data[:-1] + bytes([sealed.data[-1] ^ 1])
                elif damage == "cut":
                    sealed.data = sealed.data[: len(sealed.data) // 2]
                elif damage == "key":
                    sealed.data = foreign.encode_message(
                        TaskMessage(handle.task_id, echo.name, (-1,))
                    )
            for n, (handle, damage) in enumerate(zip(handles, damages, strict=True)):
                if damage is None:
                    assert await handle.result() == n
                else:
                    with pytest.raises(EnvelopeError, match="signature is wrong"):
                        await handle.result()
                    assert not await handle.cancel()
            await sys.wait_idle()
            dead = await sys.dead_tasks()
            assert {each.message.task_id for each in dead} == {
                handle.task_id for handle, damage in zip(handles, damages, strict=True) if damage
            }
            assert all(each.reason.startswith("cannot be decoded: ") for each in dead)
            assert (await sys.queue_statistics()).leased == 0

    simulate(main, tape=tape)


def test_a_key_that_is_gone_is_named_in_the_dead_letter() -> None:
    """The queue outlives the system: what was stored with another key is found out when it is due."""
    made = broker().with_signing({"old": KEYS["one"]})

    async def main() -> None:
        async with actorq.open_system(made) as sys:
            handle = await sys.enqueue(echo.using(delay=100), "kept")
        made.with_signing({"new": KEYS["two"]})
        async with actorq.open_system(made, tasks=[echo]) as sys:
            with pytest.raises(EnvelopeError, match=r"the key 'old', which is not accepted"):
                await sys.handle(handle.task_id).result()
            await sys.wait_idle()
            (dead,) = await sys.dead_tasks()
            assert "the key 'old'" in dead.reason
            assert "sealed bytes" in repr(dead.message.args)

    simulate(main)


def test_dead_letters_are_shown_as_they_were() -> None:
    """Not as bytes, as long as they can be read."""

    @actorq.task
    async def fail(value: int) -> None:
        raise ValueError(value)

    async def main() -> None:
        async with actorq.open_system(CHOICES["all"]()) as sys:
            handle = await sys.enqueue(fail, 5)
            await handle.wait_result()
            await sys.wait_idle()
            (dead,) = await sys.dead_tasks()
            assert (dead.message.args, dead.message.task_name) == ((5,), fail.name)

    simulate(main)


# --- sealing itself -------------------------------------------------------------------------------


MESSAGE = TaskMessage("id", "t", (1, [2]), {"k": 3})


def test_what_is_sealed_is_sealed_once() -> None:
    """A dead letter that could not be read may be replayed as it is."""
    sealed = seal(MESSAGE, Wire())
    assert seal(sealed, Wire()) is sealed
    assert unseal(sealed, Wire()).to_dict() == MESSAGE.to_dict()
    assert unseal(MESSAGE, Wire()) is MESSAGE


def test_a_message_may_be_kept_under_another_id() -> None:
    """A debounced call takes over the id of the one before."""
    kept = attrs.evolve(seal(MESSAGE, Wire()), task_id="earlier")
    read = unseal(kept, Wire())
    assert (read.task_id, read.args) == ("earlier", (1, [2]))


async def test_what_follows_a_task_is_sealed_too() -> None:
    """And what cannot be written, where nobody can be told, is found out when it is due."""
    made = broker().with_size_limit(500)
    await made.store([MESSAGE], 0.0)
    session = await made.open_session("w", 0.0)
    (delivery,) = await made.claim(session, 1, 0.0)
    then = (TaskMessage("small", "t", (1,)), TaskMessage("large", "t", ("x" * 500,)))
    await made.settle(session, [Settlement(delivery.fence, Ending.DONE, then=then)], 0.0)
    stored(made)
    (small,) = await made.claim(session, 5, 0.0)
    assert small.message.to_dict() == then[0].to_dict()
    (dead,) = await made.dead_tasks()
    assert "the limit is 500" in dead.reason
    assert [outcome.task_id for outcome in made.outbox()] == ["large"]
    with pytest.raises(EnvelopeError, match="could not be written: task 'large' has"):
        unseal(seal_anyhow(then[1], made.wire), made.wire)


# --- messages that are bytes already --------------------------------------------------------------


def test_bytes_that_were_made_elsewhere_are_enqueued() -> None:
    """Whether the task is known or not."""

    async def main() -> None:
        async with actorq.open_system(tasks=[echo]) as sys:
            data = json.dumps({"task_id": "7", "task_name": echo.name, "args": [[1]]}).encode()
            handle = await sys.send_encoded(data)
            assert await handle.result() == [1]
            await sys.send_encoded(b'{"task_id": "8", "task_name": "unknown"}')
            await trio.sleep(1)
            assert (await sys.queue_statistics()).parked == 1

    simulate(main)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "neither JSON nor actorq's frame: it begins with nothing"),
        (b"\x80\x04\x95", "it begins with 80 04 95"),
        (b'{"task_id": "7"', "it is no json"),
        (b'{"task_id": "7"}', "a task message needs a task_name; got None"),
        (b'{"task_id": "7", "task_name": "t", "arg": []}', "unknown fields"),
        (b'{"task_id": "7", "task_name": "t", "version": 2}', "reads envelope version 1; got 2"),
        (b"\xffAQ\x02T", "reads frames of version 1; this one is of version 2"),
        (b"\xffAQ\x01X", "no kind of payload"),
        (b"\xffAQ\x01R\0\x04json" + b"\0\0" * 5 + b"{}", "expected a task message, got a result"),
        (b"\xffAQ\x01T\0\xffjs", "ends in the middle of its header: in format"),
        (b"\xffAQ\x01T\0\x01\xff", "the header's format is no UTF-8"),
    ],
)
def test_bytes_that_are_no_message_are_refused_to_who_sends_them(data: bytes, says: str) -> None:
    """The error says why; nothing was enqueued."""

    async def main() -> None:
        async with actorq.open_system() as sys:
            with pytest.raises(EnvelopeError) as caught:
                await sys.send_encoded(data)
            assert says in str(caught.value)
            assert (await sys.queue_statistics()).ready == 0

    simulate(main)


async def test_a_text_is_no_bytes() -> None:
    """What to pass instead is in the error."""
    async with actorq.open_system() as sys:
        with pytest.raises(TypeError, match=r"send_encoded\(\) expects bytes.*got str"):
            await sys.send_encoded('{"task_id": "7"}')  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"for a TaskMessage there is send\(\)"):
            await sys.send_encoded(MESSAGE)  # type: ignore[arg-type]
