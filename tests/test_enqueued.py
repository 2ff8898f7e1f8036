"""`enqueued`, its assertions and `hold`: what was enqueued, by whomever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any
from unittest.mock import ANY

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

import actorq
from actorq import Context, Depends, RetryPolicy, every
from actorq.testing import (
    Tape,
    assert_enqueued,
    assert_not_enqueued,
    crash,
    drain,
    enqueued,
    hold,
    in_memory,
    schedules,
    simulate,
    time_travel,
)


def in_a_system(async_fn: Callable[[actorq.System], Awaitable[None]]) -> Callable[[], None]:
    """A test that gets an open system in virtual time."""

    async def program() -> None:
        async with actorq.open_system() as sys:
            await async_fn(sys)

    def test() -> None:
        simulate(program, limit=1e9)

    test.__name__, test.__doc__ = async_fn.__name__, async_fn.__doc__
    return test


@actorq.task
async def mail(to: str, subject: str = "hello", *, on: date | None = None) -> str:
    """Send a mail."""
    return to


@actorq.task
async def sign_up(name: str, ctx: Context = Depends()) -> str:
    """Enqueue two mails."""
    await ctx.system.enqueue(mail, name, "welcome")
    await ctx.system.enqueue(mail.using(delay=86_400, queue="slow"), name, "still there?")
    return name


@actorq.task(unique=True)
async def once(key: str) -> None:
    """Stored once."""


@actorq.task(retries=RetryPolicy.constant(2, base=1))
async def fails(ctx: Context = Depends()) -> None:
    """Fail."""
    raise OSError


@in_a_system
async def test_calls_of_every_origin(sys: actorq.System) -> None:
    """Enqueued by the test, in a batch, by a task, as a step of a chain, by a schedule, replayed."""
    await sys.enqueue(sign_up, "ann")
    await sys.enqueue_many(mail, [("b",), {"to": "c"}])
    await sys.enqueue(mail.call("d") | sign_up)
    schedule = await sys.schedules.add(mail, every(60), "tick")
    await time_travel(seconds=60)
    await sys.schedules.remove(schedule.schedule_id)
    await sys.enqueue(fails)
    await drain(sys)
    (letter,) = await sys.dead_tasks()
    await sys.replay(letter.task_id)
    assert Counter(map(repr, enqueued(sys))) == Counter(
        [
            *("test_enqueued:sign_up('ann')", "test_enqueued:sign_up('d')"),
            *("test_enqueued:mail('b')", "test_enqueued:mail(to='c')", "test_enqueued:mail('d')"),
            *[f"test_enqueued:mail('{name}', 'welcome')" for name in ("ann", "d")],
            *[
                f"test_enqueued:mail.using(queue='slow', delay=86400)('{name}', 'still there?')"
                for name in ("ann", "d")
            ],
            *("test_enqueued:mail('tick')", "test_enqueued:fails()", "test_enqueued:fails()"),
        ]
    )
    assert [call.args[0] for call in enqueued(sys, sign_up)] == ["ann", "d"]


@given(
    tape=schedules(50),
    calls=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([None, "x"])), max_size=8),
    victims=st.lists(st.sampled_from(["broker", "pool", "results"]), max_size=2),
)
@settings(max_examples=40)
def test_each_accepted_call_is_there_once(
    tape: Tape, calls: list[tuple[str, str | None]], victims: list[str]
) -> None:
    """Whether it has run or not, and whoever crashes; retries and second deliveries are no calls."""

    async def program() -> None:
        async with actorq.open_system() as sys:
            for victim in victims:
                crash(sys.actor(victim))
            for number, (to, subject) in enumerate(calls):
                one = mail.using(task_id=str(number))
                args = (to,) if subject is None else (to, subject)
                try:
                    await sys.enqueue(one, *args)
                except actorq.EnqueueUncertain:
                    await sys.enqueue(one, *args)
                await sys.enqueue(one, *args)  # an id that is known is not stored again
            await sys.enqueue(fails)
            async with hold(sys):
                await sys.enqueue(once, "k")
                with suppress(actorq.DuplicateTask):
                    await sys.enqueue(once, "k")
            await drain(sys)
            assert [call.task_id for call in enqueued(sys, mail)] == [
                str(number) for number in range(len(calls))
            ]
            assert len(enqueued(sys, fails)) == 1
            assert len(enqueued(sys, once)) == 1
            for to in "abc":
                for subject in ("hello", "x"):
                    found = enqueued(sys, mail, to, subject)
                    assert len(found) == calls.count((to, None if subject == "hello" else subject))

    simulate(program, tape=tape)


@in_a_system
async def test_what_was_said_of_a_call(sys: actorq.System) -> None:
    """Its arguments as the task gets them, its options and its id."""
    when = datetime(2024, 3, 1, tzinfo=UTC)
    handle = await sys.enqueue(
        mail.using(eta=when, queue="slow", priority=3, labels={"tenant": 7}),
        "ann",
        on=date(2024, 2, 29),
    )
    call = assert_enqueued(sys, mail)
    assert (call.task_name, call.task_id) == (mail.name, handle.task_id)
    assert (call.args, call.kwargs) == (("ann",), {"on": date(2024, 2, 29)})
    assert (call.queue, call.priority, call.labels) == ("slow", 3, {"tenant": 7})
    assert call.eta == when
    assert call.delay == 60 * 86_400
    now = await sys.enqueue(mail, "bob")
    assert assert_enqueued(sys, mail, "bob").delay is None
    assert sys.handle(now.task_id, mail).task_id == now.task_id


@in_a_system
async def test_arguments_are_compared_as_calls(sys: actorq.System) -> None:
    """By position or by name, with or without a default, and with ANY."""
    await sys.enqueue(mail, "ann")
    assert_enqueued(sys, mail)
    assert_enqueued(sys, mail, "ann")
    assert_enqueued(sys, mail, to="ann")
    assert_enqueued(sys, mail, "ann", "hello")
    assert_enqueued(sys, mail, subject="hello", to="ann", on=None)
    assert_enqueued(sys, mail, ANY)
    assert_not_enqueued(sys, mail, "bob")
    assert_not_enqueued(sys, mail, "ann", "bye")
    assert_not_enqueued(sys, mail, ANY, on=date(2024, 1, 1))
    assert_not_enqueued(sys, sign_up)
    assert enqueued(sys, mail.name, "ann") == enqueued(sys, mail)
    with pytest.raises(actorq.ArgumentsError, match="unexpected keyword argument 'too'"):
        assert_not_enqueued(sys, mail, to="ann", too=1)


def _message_of(assertion: Callable[[], object]) -> str:
    with pytest.raises(AssertionError) as caught:
        assertion()
    return str(caught.value)


@in_a_system
async def test_failures_show_what_was_enqueued(sys: actorq.System) -> None:
    """Of this task if there is any, else all."""
    assert _message_of(lambda: assert_enqueued(sys, mail)) == (
        "test_enqueued:mail was not enqueued: nothing was"
    )
    await sys.enqueue(mail, "ann", on=date(2024, 2, 29))
    assert _message_of(lambda: assert_enqueued(sys, mail, "bob", subject="x")) == (
        "test_enqueued:mail('bob', subject='x') was not enqueued; it was as\n"
        "  test_enqueued:mail('ann', on=datetime.date(2024, 2, 29))"
    )
    assert _message_of(lambda: assert_enqueued(sys, sign_up)) == (
        "test_enqueued:sign_up was not enqueued; what was:\n"
        "  test_enqueued:mail('ann', on=datetime.date(2024, 2, 29))"
    )
    await sys.enqueue_many(mail, [("ann",)] * 30)
    said = _message_of(lambda: assert_not_enqueued(sys, mail, "ann"))
    assert said.startswith("test_enqueued:mail('ann') was enqueued 30 times:\n")
    assert said.endswith("\n  and 10 more")


@in_a_system
async def test_hold(sys: actorq.System) -> None:
    """Nothing runs inside, what runs goes on, and afterwards all of it runs."""
    began = trio.Event()

    @actorq.task
    async def long() -> str:
        began.set()
        await trio.sleep(10)
        return "done"

    running = await sys.enqueue(long)
    await began.wait()
    async with hold(sys):
        handle = await sys.enqueue(mail, "ann")
        assert await running.result() == "done"
        await trio.sleep(100)
        assert not await handle.is_ready()
        assert_enqueued(sys, mail, "ann")
        counts = await sys.queue_statistics()
        assert (counts.ready, counts.leased) == (1, 0)
    assert await handle.result() == "ann"


def test_hold_survives_a_crash() -> None:
    """A broker that restarts inside gives nothing out either; an error ends the hold all the same."""

    async def program() -> None:
        async with actorq.open_system() as sys:
            with pytest.raises(OSError, match="the test's own"):  # noqa: PT012
                async with hold(sys):
                    handle = await sys.enqueue(mail, "ann")
                    crash(sys.actor("broker"))
                    await trio.sleep(100)
                    assert not await handle.is_ready()
                    raise OSError("the test's own")
            await drain(sys)
            assert await handle.result() == "ann"

    simulate(program)


# --- a stand-in for the app's broker --------------------------------------------------------------


def test_an_apps_own_kiq_goes_to_the_stand_in() -> None:
    """With its middlewares, dependencies, format and lifespan; and the app's queue stays empty."""

    class Labels(actorq.Middleware):
        def pre_send(self, message: Any) -> Any:
            return message.with_labels(seen=True)

    app = actorq.InMemoryBroker(encoded=True, lease=7)
    app.with_middlewares(Labels()).with_signing({"k": b"x" * 32}).with_size_limit(500)
    app.with_dependency(bytes, b"app")

    @app.on_startup
    def start(state: actorq.State) -> None:
        state.started = getattr(state, "started", 0) + 1

    @app.task
    async def task(text: str, data: bytes = Depends(), state: actorq.State = Depends()) -> str:
        return f"{text} {data!r} {state.started}"

    async def program() -> None:
        broker = in_memory(app)
        assert broker.lease == 7
        async with actorq.open_system(broker) as sys:
            handle = await task.kiq("a")
            assert await handle.result() == "a b'app' 1"
            assert (await handle.wait_result()).labels == {"seen": True}
            with pytest.raises(actorq.MessageTooLarge):
                await task.kiq("x" * 500)
            assert len(enqueued(sys, task)) == 1
            with pytest.raises(actorq.SystemClosed):
                async with actorq.open_system(app):
                    pass
            with pytest.raises(actorq.SystemClosed, match="stand for a broker that is open"):
                in_memory(app)
        with pytest.raises(actorq.SystemClosed):
            await task.kiq("b")
        async with actorq.open_system(in_memory(app)) as sys:
            assert enqueued(sys) == []
            assert not await sys.handle(handle.task_id).is_ready()
        async with actorq.open_system(app) as sys:
            assert (await sys.queue_statistics()).done == 0

    simulate(program)


def test_stand_ins_of_two_brokers() -> None:
    """Each has its system; kiq() goes to the right one."""
    shop, post = actorq.InMemoryBroker(), actorq.InMemoryBroker()

    @shop.task
    async def sell() -> str:
        return await (await deliver.kiq()).result()

    @post.task
    async def deliver() -> str:
        return "delivered"

    async def program() -> None:
        async with (
            actorq.open_system(in_memory(shop)) as shops,
            actorq.open_system(in_memory(post)) as posts,
        ):
            assert await (await sell.kiq()).result() == "delivered"
            assert_enqueued(shops, sell)
            assert_not_enqueued(shops, deliver)
            assert_enqueued(posts, deliver)

    simulate(program)


def test_a_stand_in_refuses_what_the_app_would() -> None:
    """What the engine lacks is refused under its name; what is no broker, too."""

    class Plain(actorq.InMemoryBroker):
        lacks = frozenset({actorq.Capability.PRIORITY})

    async def program() -> None:
        async with actorq.open_system(in_memory(Plain())) as sys:
            with pytest.raises(actorq.UnsupportedOption, match=r"in_memory\(Plain\).*priority"):
                await sys.enqueue(mail.using(priority=1), "ann")

    simulate(program)
    with pytest.raises(TypeError, match=r"in_memory\(\) expects a broker object.*got 'redis"):
        in_memory("redis://")  # type: ignore[arg-type]
    stand_in = in_memory(Plain())
    assert in_memory(stand_in) is not stand_in
    assert repr(in_memory(stand_in)) == "<in_memory(Plain)>"
