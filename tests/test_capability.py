"""What an engine lacks is refused by name, on every way to it, and nothing is stored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import trio

import actorq
from actorq import (
    Broker,
    Capability,
    InMemoryBroker,
    LetterReason,
    RetryPolicy,
    System,
    TaskMessage,
    UnsupportedOption,
    every,
    open_system,
)
from actorq.engine import ALWAYS, FOR, Engine
from actorq.engines.memory.storage import MemoryStorage
from actorq.requirements import IN_MESSAGES
from actorq.testing import simulate


@actorq.task
async def mail(address: str = "") -> str:
    """What is enqueued with one option or the other."""
    return f"to {address}"


@actorq.task
async def note(line: str = "") -> str:
    """What needs nothing."""
    return line


def without(*lacking: Capability) -> InMemoryBroker:
    """An engine that could, but says that it cannot."""

    class Small(InMemoryBroker):
        lacks = frozenset(lacking)

    return Small()


Use = Callable[[System], Awaitable[object]]

OPTIONS: list[tuple[Capability, dict[str, Any], str]] = [
    (Capability.DELAY, {"delay": 5}, "delay= or eta="),
    (Capability.DELAY, {"eta": datetime(2030, 1, 1, tzinfo=UTC)}, "delay= or eta="),
    (Capability.DELAY, {"retries": 3}, r"retries=3.*RetryPolicy.constant\(3, base=0\)"),
    (Capability.DELAY, {"ack": "manual"}, "ack='manual'"),
    (Capability.PRIORITY, {"priority": 5}, "priority=5"),
    (Capability.QUEUES, {"queue": "slow"}, "queue='slow'"),
    (Capability.EXPIRY, {"expires": 60}, "expires="),
    (Capability.EXPIRY, {"propagate_deadline": True}, "propagate_deadline=True"),
    (Capability.UNIQUE, {"unique": True}, "unique="),
    (Capability.CONCURRENCY, {"concurrency": 2}, "concurrency="),
    (Capability.RATE, {"rate": "10/s"}, "rate="),
]


async def count(sys: System) -> int:
    """Tasks that were ever accepted."""
    counts = await sys.queue_statistics()
    return counts.scheduled + counts.ready + counts.leased + counts.done + counts.dead


@pytest.mark.parametrize(("capability", "options", "text"), OPTIONS)
async def test_an_option_is_refused_with_its_name_and_the_engine_s(
    capability: Capability, options: dict[str, Any], text: str
) -> None:
    """On every way to enqueue; a batch as a whole; the actor goes on."""
    task = mail.using(**options)

    async def in_a_nursery(sys: System) -> None:
        try:
            async with sys.open_task_nursery() as tasks:
                await tasks.enqueue(task, "ann")
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    ways: list[Use] = [
        lambda sys: sys.enqueue(task, "ann"),
        lambda sys: sys.enqueue_many(task, [("ann",), ("bob",)]),
        lambda sys: sys.send(task.message(("ann",), {}, task_id="1", now=0.0)),
        in_a_nursery,
    ]
    if capability is not Capability.UNIQUE:  # which no step of a chain can be
        ways.append(lambda sys: sys.enqueue(note | task, "ann"))
    broker = without(capability)
    async with open_system(broker) as sys:
        for way in ways:
            with (
                trio.fail_after(60),
                pytest.raises(UnsupportedOption, match=f"Small cannot honour {text}") as refused,
            ):
                await way(sys)
            assert f"of task {mail.name!r}" in str(refused.value)
            assert f"{capability.value!r} (Capability.{capability.name})" in str(refused.value)
            assert await count(sys) == 0
        assert await (await sys.enqueue(note, "fine")).result() == "fine"


@pytest.mark.parametrize(("capability", "options", "text"), OPTIONS)
async def test_an_engine_that_lacks_all_the_others_takes_it(
    capability: Capability, options: dict[str, Any], text: str
) -> None:
    """No option is taken for another."""
    async with open_system(without(*(IN_MESSAGES - {capability}))) as sys:
        with trio.fail_after(60):
            await sys.enqueue(mail.using(**options), "ann")
        assert await count(sys) == 1


async def test_a_chain_is_refused() -> None:
    """By its own name, before its steps are looked at."""
    async with open_system(without(Capability.CHAINS, Capability.PRIORITY)) as sys:
        with pytest.raises(UnsupportedOption, match=r"a chain of task .*note.*Capability.CHAINS"):
            await sys.enqueue(note | mail.using(priority=1), "ann")
        assert await count(sys) == 0


async def test_a_delay_within_a_chain_is_a_delay() -> None:
    """It is said of a step, and is no `eta` before that is enqueued."""
    async with open_system(without(Capability.DELAY)) as sys:
        with pytest.raises(UnsupportedOption, match=f"delay= or eta= of task {mail.name!r}"):
            await sys.enqueue(note | mail.using(delay=5), "ann")


async def test_kiq_is_refused_too() -> None:
    """It is the same way."""
    broker = without(Capability.RATE)

    @broker.task(rate="1/s")
    async def slow() -> None: ...

    async with open_system(broker):
        with pytest.raises(UnsupportedOption, match="rate="):
            await slow.kiq()


async def test_what_a_middleware_adds_is_refused_too() -> None:
    """The message is looked at as it would be stored."""

    class Hurry(actorq.Middleware):
        def pre_send(self, message: TaskMessage) -> TaskMessage:
            options = message.options.updated({"priority": 9}, where="Hurry")
            return actorq.TaskMessage(message.task_id, message.task_name, options=options)

    broker = without(Capability.PRIORITY).with_middlewares(Hurry())
    async with open_system(broker) as sys:
        with pytest.raises(UnsupportedOption, match="priority=9"):
            await sys.enqueue(note)


@pytest.mark.parametrize("policy", [RetryPolicy.constant(2, base=0), RetryPolicy(2, cap=0)])
async def test_retries_without_a_pause_need_no_delay(policy: RetryPolicy) -> None:
    """What the refusal says to write is taken."""
    ran = 0

    @actorq.task(retries=policy)
    async def flaky() -> int:
        nonlocal ran
        ran += 1
        if ran < 3:
            raise ValueError(ran)
        return ran

    async with open_system(without(Capability.DELAY)) as sys:
        assert await (await sys.enqueue(flaky)).result() == 3


async def test_a_pause_that_a_task_asks_for_while_it_runs_is_refused() -> None:
    """No engine can refuse it before: the attempt is the last, and says why."""

    @actorq.task(retries=RetryPolicy.constant(3, base=0))
    async def later(kind: str, ctx: actorq.Context = actorq.Depends()) -> str:
        if kind == "retry":
            raise actorq.Retry(5)
        if kind == "requeue":
            await ctx.requeue(5)
        if ctx.attempt == 1:
            await ctx.requeue()
        return "done"

    async with open_system(without(Capability.DELAY)) as sys:
        for kind in ("retry", "requeue"):
            handle = await sys.enqueue(later, kind)
            with (
                trio.fail_after(60),
                pytest.raises(UnsupportedOption, match=r"Small cannot wait 5 s before .*later"),
            ):
                await handle.result()
            assert (await handle.get_result()).attempts == 1 + 3 * (kind == "requeue")
        assert await (await sys.enqueue(later, "now")).result() == "done"
        dead = await sys.dead_tasks()
        assert [each.attempts for each in dead] == [1, 4]
        assert (await sys.queue_statistics()).scheduled == 0


async def test_an_unknown_task_dies_where_it_cannot_be_parked() -> None:
    """With its reason, and its waiter is told; a middleware hears of it."""
    heard: list[str] = []

    class Hears(actorq.Middleware):
        def on_dead(
            self, message: TaskMessage, result: actorq.TaskResult[Any], error: Exception
        ) -> None:
            heard.append(message.task_name)

    broker = without(Capability.PARKING).with_middlewares(Hears())
    async with open_system(broker) as sys:
        handle = await sys.send(TaskMessage("1", "elsewhere:unheard_of"))
        with trio.fail_after(60), pytest.raises(UnsupportedOption, match=r"unheard_of.*Small"):
            await handle.result()
        (letter,) = await sys.dead_tasks()
        assert "PARKING" in letter.reason
        assert await (await sys.enqueue(note, "fine")).result() == "fine"
    assert heard == ["elsewhere:unheard_of"]


# --- the operations ---


async def in_a_map(sys: System) -> None:
    """Which is left as soon as it is entered."""
    async with sys.map(note, ["a"]):
        pytest.fail("it opened")


OPERATIONS: list[tuple[Capability, str, Use]] = [
    (Capability.PAUSE, r"pause\(\)", lambda sys: sys.pause("default")),
    (Capability.PAUSE, r"resume\(\)", lambda sys: sys.resume("default")),
    (Capability.PURGE, r"purge\(\)", lambda sys: sys.purge("default")),
    (Capability.LISTING, r"queued_tasks\(\)", lambda sys: sys.queued_tasks()),
    (Capability.WORKERS, r"workers\(\)", lambda sys: sys.workers()),
    (Capability.DEAD_LETTERS, r"dead_tasks\(\)", lambda sys: sys.dead_tasks()),
    (Capability.DEAD_LETTERS, r"dead_task\(\)", lambda sys: sys.dead_task("1")),
    (Capability.DEAD_LETTERS, r"dead_task\(\)", lambda sys: sys.replay("1")),
    (Capability.DEAD_LETTERS, r"dead_tasks\(\)", lambda sys: sys.replay_all()),
    (Capability.DEAD_LETTERS, r"purge_dead\(\)", lambda sys: sys.purge_dead()),
    (Capability.CANCELLATION, r"cancel\(\)", lambda sys: sys.handle("1").cancel()),
    (Capability.CANCELLATION, "task nurseries", lambda sys: sys.gather(note.call("a"))),
    (Capability.CANCELLATION, "task nurseries", in_a_map),
]


@pytest.mark.parametrize(("capability", "text", "use"), OPERATIONS)
async def test_an_operation_is_refused(capability: Capability, text: str, use: Use) -> None:
    """The actor goes on, and so does the task that runs."""
    async with open_system(without(capability)) as sys:
        with (
            trio.fail_after(60),
            pytest.raises(UnsupportedOption, match=rf"Small cannot do .*{text}.*{capability.name}"),
        ):
            await use(sys)
        assert await (await sys.enqueue(note, "fine")).result() == "fine"
    assert not [each for each in sys.dead_letters if each.reason is LetterReason.CRASHED]


async def test_queues_cannot_be_chosen_where_there_is_one() -> None:
    """When the system is opened: its workers could not honour it."""
    with pytest.raises(UnsupportedOption, match=r"open_system\(queues=...\).*QUEUES"):
        async with open_system(without(Capability.QUEUES), queues=["fast"]):
            pytest.fail("it opened")


def test_a_slot_is_refused_and_dropped(caplog: pytest.LogCaptureFixture) -> None:
    """A schedule cannot hand out what the engine cannot keep; the scheduler goes on."""
    broker = without(Capability.PRIORITY)

    @broker.task(schedule=[every(10)], priority=3)
    async def tick() -> None: ...

    @broker.task(schedule=[every(10)])
    async def tock() -> None: ...

    async def scenario() -> int:
        async with open_system(broker) as sys:
            await trio.sleep(25)
            await sys.wait_idle()
            return await count(sys)

    with caplog.at_level("ERROR", logger="actorq"):
        assert simulate(scenario) == 2
    assert "is refused, and dropped" in caplog.text
    assert "Small cannot honour priority=3" in caplog.text


def test_a_slot_that_cancels_the_one_before_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """Where nothing can be cancelled: the slot is dropped, and the one before goes on."""
    broker = without(Capability.CANCELLATION)

    @broker.task(schedule=[every(10, overlap="cancel_previous")])
    async def long() -> None:
        await trio.sleep(15)

    async def scenario() -> tuple[int, int]:
        async with open_system(broker) as sys:
            await trio.sleep(25)
            at_25 = await count(sys)
            await trio.sleep(10)
            return at_25, await count(sys)

    with caplog.at_level("ERROR", logger="actorq"):
        assert simulate(scenario) == (1, 2)
    assert "Small cannot do cancel()" in caplog.text


# --- what is declared is checked ---


class Bare(Broker):
    """Nothing that a queue needs."""


def test_what_nobody_has_chosen_is_told() -> None:
    """Until it is opened, which chooses the memory."""
    with pytest.raises(RuntimeError, match=r"results .* this Bare: call with_result_backend\("):
        Bare().result_backend  # noqa: B018
    with pytest.raises(RuntimeError, match=r"schedules .* this Bare: call with_schedule_source\("):
        Bare().schedule_sources  # noqa: B018


@pytest.mark.parametrize("lacks", [{"delay"}, frozenset({"DELAY"}), [Capability.DELAY], None, "x"])
async def test_an_unknown_capability_is_refused(lacks: object) -> None:
    """A misspelt one would be ignored."""
    broker = InMemoryBroker()
    broker.lacks = lacks  # type: ignore[assignment]
    with pytest.raises(TypeError, match=r"InMemoryBroker.lacks expects a frozenset"):
        async with open_system(broker):
            pytest.fail("it opened")


async def test_what_is_neither_written_nor_declared_is_named() -> None:
    """With what to declare, if it is to stay away."""
    with pytest.raises(TypeError, match="Bare does not implement") as refused:
        async with open_system(Bare()):
            pytest.fail("it opened")
    text = str(refused.value)
    for method in ALWAYS:
        assert f"{method}() (every engine needs it)" in text
    for capability, methods in FOR.items():
        if capability not in (Capability.EXPIRY, Capability.RATE):  # of which DELAY is the first
            for method in methods:
                assert (
                    f"{method}() (or declare that it lacks {capability.value!r} "
                    f"(Capability.{capability.name}))" in text
                )


async def test_what_is_declared_need_not_be_written() -> None:
    """Then only the few that every engine has are missing."""

    class Narrow(Bare):
        lacks = frozenset(Capability)

    with pytest.raises(TypeError) as refused:
        async with open_system(Narrow()):
            pytest.fail("it opened")
    assert "or declare" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "method", "how"),
    [("store", lambda self: None, "an `async def`"), ("claimable", mail.function, "a plain `def`")],
)
async def test_a_method_of_the_wrong_colour_is_refused(name: str, method: Any, how: str) -> None:
    """It would crash the actor at the first use, or always be true."""
    kind = type("Odd", (InMemoryBroker,), {name: method})
    with pytest.raises(TypeError, match=rf"Odd.{name}\(\) must be {how}"):
        async with open_system(kind()):
            pytest.fail("it opened")


async def test_the_defaults_refuse_or_do_nothing() -> None:
    """A direct call is no way around the refusal."""

    class Narrow(Bare):
        lacks = frozenset(Capability)

    narrow = Narrow()
    refused: list[Awaitable[object]] = [
        narrow.revoke("1", 0.0),
        narrow.ending("1"),
        narrow.dead_tasks(),
        narrow.dead_task("1"),
        narrow.replay([], 0.0),
        narrow.purge_dead(None),
        narrow.queued_tasks(None, 1),
        narrow.purge("default", 0.0),
        narrow.set_paused("default", paused=True),
    ]
    for call in refused:
        with pytest.raises(UnsupportedOption, match="Narrow cannot do"):
            await call
    await narrow.startup()
    await narrow.promote(0.0)
    await narrow.release("task")
    await narrow.shutdown()
    assert (narrow.next_due(), narrow.has_notices(), narrow.take_notices(1)) == (None, False, ())
    assert narrow.sessions_ended() == 0


def test_every_method_is_said_to_be_needed_or_not() -> None:
    """A new one is given its place."""
    free = {"startup", "shutdown", "outbox", "report_end", "published"}
    free |= {"grouped", "overlaps", "perform", "perform_unread", "stores_results_of", "look"}
    free |= {"is_ending", "ended_among"}
    placed = {
        *ALWAYS,
        *free,
        "take_back",
        *(method for methods in FOR.values() for method in methods),
    }
    assert placed == {name for name in vars(Engine) if not name.startswith("_")}


def test_what_the_memory_engine_lacks() -> None:
    """It depends on how it is made."""
    sharing, survival, of_bytes = Capability.SHARING, Capability.SURVIVAL, Capability.BYTES
    assert InMemoryBroker().lacks == {sharing, survival, of_bytes}
    assert InMemoryBroker(encoded=True).lacks == {sharing, survival}
    assert InMemoryBroker(encoded=True, storage=MemoryStorage()).lacks == {sharing}
