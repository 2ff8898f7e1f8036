"""Mistakes at the queue's door: each error says what was expected, what came and what to do."""

from __future__ import annotations

import asyncio
import inspect
import json
import math
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

import actorq
from actorq import (
    ArgumentsError,
    EnvelopeError,
    InMemoryBroker,
    InMemoryResultBackend,
    Middleware,
    NotSerializable,
    OptionError,
    SystemClosed,
    TaskDefinitionError,
    TaskMessage,
    TaskNotBound,
    TaskProgress,
    TaskResult,
    UnknownOption,
    at,
    every,
    open_system,
)
from actorq.message import Terms
from actorq.options import TaskOptions
from actorq.testing import simulate
from queue_strategies import INJECTED


@actorq.task
async def add(a: int, b: int = 0) -> int:
    """Add."""
    return a + b


async def plain(a: int) -> int:
    """No task."""
    return a


async def number() -> int:
    """No arguments."""
    return 1


async def in_a_system(use: Callable[[actorq.System], Awaitable[object]]) -> None:
    """Nothing is stored, and the system goes on."""
    broker = InMemoryBroker()
    async with open_system(broker) as sys:
        await use(sys)
        assert not broker.queue.live
        assert await (await sys.enqueue(add, 1, 2)).result() == 3


# --- enqueueing ---------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
def test_a_coroutine_instead_of_a_task() -> None:
    """The commonest slip of all; and Python has nothing to warn of."""

    async def use(sys: actorq.System) -> None:
        wrong: Any = sys
        with pytest.raises(TypeError) as caught:
            await wrong.enqueue(add(1, 2))
        assert str(caught.value) == (
            "enqueue() got a coroutine; pass the task and its arguments: "
            "enqueue(add, ...), not enqueue(add(...))"
        )
        with pytest.raises(TypeError, match=r"enqueue_many\(\) got a coroutine"):
            await wrong.enqueue_many(plain(1), [])

    simulate(in_a_system, use)


@pytest.mark.parametrize(
    ("given_task", "said"),
    [
        (plain, r"enqueue\(\) got the plain function 'plain'; make it a task with @actorq.task"),
        (len, r"plain function 'len'"),
        ("add", r"enqueue\(\) expects a task made with @actorq.task; got 'add'"),
        (None, r"got None"),
        (TaskMessage("a", "b"), r"got TaskMessage"),
    ],
)
def test_something_else_instead_of_a_task(given_task: Any, said: str) -> None:
    """What came is named, and what to write."""

    async def use(sys: actorq.System) -> None:
        for call in (sys.enqueue(given_task), sys.register(given_task)):
            with pytest.raises(TypeError, match=said if "enqueue" not in said else None):
                await call
        with pytest.raises(TypeError, match=said):
            await sys.enqueue(given_task)

    simulate(in_a_system, use)


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        ((), {}, "a"),
        ((1, 2, 3), {}, ""),
        ((1,), {"c": 1}, "c"),
        ((1,), {"a": 1}, "a"),
        (("1",), {}, "a"),
        ((1.5,), {}, "a"),
        ((True,), {}, "a"),
        ((None,), {}, "a"),
        ((1,), {"b": [2]}, "b"),
    ],
)
def test_arguments_that_do_not_fit(args: Any, kwargs: Any, said: str) -> None:
    """A15: at the call, with the parameter's name; nothing is stored."""

    async def use(sys: actorq.System) -> None:
        with pytest.raises(ArgumentsError) as caught:
            await sys.enqueue(add, *args, **kwargs)
        assert isinstance(caught.value, TypeError)
        assert "add" in str(caught.value)
        assert re.search(rf"\b{said}", str(caught.value))
        with pytest.raises(ArgumentsError):
            await sys.enqueue_many(add, [(1,), args if not kwargs else {**kwargs, "a": "x"}])

    simulate(in_a_system, use)


class Opaque:
    """Nothing that JSON could carry."""


@pytest.mark.parametrize(
    "value",
    [Opaque(), float("nan"), float("inf"), {1, 2} - {2} and {Opaque()}, [lambda: 1], "\ud800"],
)
def test_values_that_json_cannot_carry(value: Any) -> None:
    """In memory too: what works here works on an engine."""

    @actorq.task
    async def anything(value: Any) -> None:
        raise AssertionError("unreachable")

    async def use(sys: actorq.System) -> None:
        with pytest.raises((NotSerializable, ArgumentsError)) as caught:
            await sys.enqueue(anything, value)
        assert "anything" in str(caught.value) or "value" in str(caught.value)

    simulate(in_a_system, use)


@pytest.mark.parametrize("calls", [[1], ["ab"], [None], [{1}]])
def test_enqueue_many_with_something_else_than_calls(calls: Any) -> None:
    """`enqueue_many(task, [1, 2])` is not `[(1,), (2,)]`."""

    async def use(sys: actorq.System) -> None:
        with pytest.raises(TypeError, match=r"as a tuple or a mapping, such as \[\(1,\), \(2,\)\]"):
            await sys.enqueue_many(add, calls)
        with pytest.raises(ValueError, match="one task_id to many calls"):
            await sys.enqueue_many(add.using(task_id="x"), [(1,)])
        with pytest.raises(TypeError, match=r"send\(\) expects a TaskMessage; got 5"):
            await sys.send(5)  # type: ignore[arg-type]

    simulate(in_a_system, use)


def test_one_id_for_two_calls() -> None:
    """31: the second caller is told, the first is not disturbed."""

    async def main() -> None:
        async with open_system() as sys:
            first = await sys.enqueue(add.using(task_id="x", delay=5), 1)
            with pytest.raises(actorq.DuplicateTaskId, match="'x' belongs to another call"):
                await sys.enqueue(add.using(task_id="x"), 2)
            assert await first.result() == 1

    simulate(main)


# --- closed and unbound -------------------------------------------------------------------------


def test_using_what_is_closed() -> None:
    """45: every door says that it is closed, and where to stand."""

    async def main() -> None:
        broker = InMemoryBroker()
        bound = broker.task(number)
        with pytest.raises(SystemClosed, match=r"inside `async with actorq.open_system\(broker\)"):
            await bound.kiq()
        async with open_system(broker) as sys:
            handle = await bound.kiq()
            assert await handle.result() == 1
        doors: list[Callable[[], Awaitable[Any]]] = [
            lambda: sys.enqueue(add, 1),
            lambda: sys.enqueue_many(add, [(1,)]),
            lambda: sys.send(TaskMessage("a", "b")),
            lambda: sys.register(add),
            bound.kiq,
            handle.result,
            handle.wait_result,
            handle.get_result,
            handle.is_ready,
            handle.cancel,
            handle.get_progress,
            handle.progress().__anext__,
            sys.handle("a").result,
            sys.wait_idle,
            sys.queue_statistics,
            sys.pool_statistics,
            sys.dead_tasks,
        ]
        for door in doors:
            with pytest.raises(SystemClosed, match=r"clos|not open"):
                await door()

    simulate(main)


def test_a_task_without_a_broker_has_no_kiq() -> None:
    """It says both ways out."""

    async def main() -> None:
        with pytest.raises(TaskNotBound, match=r"@broker.task.*await sys.enqueue\(add, \.\.\.\)"):
            await add.kiq(1)

    simulate(main)


def test_one_broker_in_two_systems() -> None:
    """One broker, one system at a time; afterwards it may be opened again."""

    async def main() -> None:
        broker = InMemoryBroker()
        async with open_system(broker):
            with pytest.raises(SystemClosed, match="open in another system already"):
                async with open_system(broker):
                    raise AssertionError("unreachable")
        async with open_system(broker) as sys:
            assert await (await sys.enqueue(add, 1)).result() == 1

    simulate(main)


# --- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("retry", "did you mean 'retries'"),
        ("retires", "did you mean 'retries'"),
        ("time_out", "did you mean 'timeout'"),
        ("label", "did you mean 'labels'"),
        ("prio", "did you mean 'priority'"),
        ("taskid", "did you mean 'task_id'"),
        ("xyzzy", "there are: ack, "),
    ],
)
def test_unknown_options(name: str, hint: str) -> None:
    """In the decorators and in `using`."""
    options: Any = {name: 1}
    for where, call in (
        ("@task", lambda: actorq.task(**options)),
        ("@broker.task", lambda: InMemoryBroker().task(**options)),
        ("add.using()", lambda: add.using(**options)),
    ):
        with pytest.raises(UnknownOption) as caught:
            call()
        assert where in str(caught.value)
        assert f"unknown option {name!r}" in str(caught.value)
        assert hint in str(caught.value)
        assert isinstance(caught.value, TypeError)


NAIVE = datetime(2030, 1, 1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"timeout": -1}, "timeout expects a finite number of seconds >= 0; got -1"),
        ({"timeout": 0}, "timeout must be greater than 0; leave it out for no limit"),
        ({"timeout": "0.3"}, r"timeout expects seconds \(a number or a timedelta\); got '0.3'"),
        ({"timeout": True}, "got True"),
        ({"timeout": float("nan")}, "got nan"),
        ({"timeout": float("inf")}, "got inf"),
        ({"timeout": timedelta(-1)}, "got -86400"),
        ({"delay": -0.1}, "delay expects a finite number"),
        ({"delay": "5m"}, "delay expects seconds"),
        ({"retries": -1}, r"retries expects the number of attempts after the first.*got -1"),
        ({"retries": 1.5}, "got 1.5"),
        ({"retries": True}, "got True"),
        ({"ack": "later"}, "ack expects one of 'when_received', 'when_executed', 'when_saved'"),
        ({"ack": None}, "got None"),
        ({"priority": "high"}, "priority expects a whole number, higher first; got 'high'"),
        ({"priority": 1 << 63}, "priority expects a whole number of at most 64 bits; got 9223"),
        ({"priority": 1.0}, "got 1.0"),
        ({"queue": "\ud800"}, "queue expects characters that UTF-8 can write"),
        ({"max_deliveries": 1 << 63}, "max_deliveries expects a whole number of at most 64 bits"),
        ({"concurrency": 1 << 63}, "a limit is a whole number of at most 64 bits; got 9223"),
        ({"rate": f"{1 << 63}/s"}, "a limit is a whole number of at most 64 bits; got 9223"),
        ({"labels": ["a"]}, "labels expects a mapping with string keys"),
        ({"labels": {1: 2}}, "string keys"),
        ({"labels": {"a": Opaque()}}, "labels travel as JSON"),
        ({"raises": [3]}, "raises expects exception classes; got 3"),
        ({"raises": ValueError("x")}, "raises expects exception classes"),
        ({"raises": KeyboardInterrupt}, "raises expects exception classes"),
        ({"executor": "gpu"}, "executor expects 'trio', 'thread' or 'process'; got 'gpu'"),
        ({"ack": "when_received", "retries": 2}, "forgets the task before it runs.*retries=2"),
    ],
)
def test_wrong_values_of_options(options: Any, said: str) -> None:
    """An `OptionError`, which is a ValueError, where it is written."""
    for call in (lambda: actorq.task(**options), lambda: add.using(**options)):
        with pytest.raises(OptionError, match=said) as caught:
            call()
        assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"eta": NAIVE}, r"eta expects a datetime with a time zone, such as datetime.now\(UTC\)"),
        ({"eta": 5}, "got 5"),
        ({"eta": datetime(2030, 1, 1, tzinfo=UTC), "delay": 5}, "delay or eta, not both"),
        ({"task_id": ""}, "task_id expects a string of 1 to 255 characters; got ''"),
        ({"task_id": "x" * 256}, "1 to 255 characters"),
        ({"task_id": 5}, "got 5"),
        ({"task_id": "\ud800"}, "task_id expects characters that UTF-8 can write"),
        ({"schedule": [every(5)]}, "schedule belongs into the decorator"),
    ],
)
def test_wrong_values_of_options_of_one_call(options: Any, said: str) -> None:
    """Likewise in `using`; and what is one call's has no place in a decorator."""
    with pytest.raises(OptionError, match=said):
        add.using(**options)
    for name, value in (("task_id", "a"), ("eta", datetime(2030, 1, 1, tzinfo=UTC))):
        decorate: Any = actorq.task
        with pytest.raises(
            OptionError, match=rf"{name} cannot be given.*task.using\({name}=\.\.\."
        ):
            decorate(**{name: value})


# --- tasks --------------------------------------------------------------------------------------


def test_functions_that_cannot_be_tasks() -> None:
    """A `TaskDefinitionError`, which is a TypeError, at the decorator."""

    def generator() -> Any:
        yield 1

    async def async_generator() -> Any:
        yield 1

    make: Any = actorq.task
    for wrong, said in (
        (generator, "is a generator function: a task returns one result; report the steps"),
        (async_generator, "is a generator function"),
        (lambda: 1, "a lambda has no name of its own; pass name="),
        (5, "@task expects a function; got 5"),
        (int, "@task expects a function; got <class 'int'>"),
        (add, "is a task already; decorate the function once"),
        (Opaque(), "expects a function"),
    ):
        with pytest.raises(TaskDefinitionError, match=said) as caught:
            make(wrong)
        assert isinstance(caught.value, TypeError)
    with pytest.raises(OptionError, match="is a plain function: executor='trio' cannot run it"):
        make(executor="trio")(len_of)
    with pytest.raises(OptionError, match="is an async function: executor='thread'"):
        make(executor="thread")(plain)
    assert make(name="fine")(lambda: 1).name == "fine"


def len_of(text: str) -> int:
    """A plain function."""
    return len(text)


def test_an_injected_parameter_of_an_unknown_kind() -> None:
    """`Depends()` on what nothing supplies is refused at the first enqueue, and at the opening."""

    @actorq.task
    async def wants(db: str = INJECTED) -> None: ...

    async def use(sys: actorq.System) -> None:
        with pytest.raises(
            TaskDefinitionError, match=r"say `broker.with_dependency\(str, value\)`"
        ):
            await sys.enqueue(wants)

    simulate(in_a_system, use)

    async def main() -> None:
        with pytest.raises(TaskDefinitionError, match="nothing supplies str"):
            async with open_system(tasks=[wants]):
                raise AssertionError("unreachable")

    simulate(main)


def test_two_functions_with_one_task_name() -> None:
    """On a broker, and on a system; the same function twice is fine."""
    broker = InMemoryBroker()
    broker.task(name="one")(plain)
    broker.task(name="one")(plain)
    with pytest.raises(TaskDefinitionError, match=r"two functions want the task name 'one'.*name="):
        broker.task(name="one")(number)

    async def use(sys: actorq.System) -> None:
        await (await sys.enqueue(actorq.task(name="one")(number))).result()
        with pytest.raises(TaskDefinitionError, match="two functions want the task name 'one'"):
            await sys.enqueue(actorq.task(name="one")(plain), 1)

    async def main() -> None:
        async with open_system() as sys:
            await use(sys)

    simulate(main)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: every(0), r"every\(\) needs a finite period > 0"),
        (lambda: every(-5), "not -5"),
        (lambda: every(1e20), "a period of at most a hundred years"),
        (lambda: EVERY("5m"), r"write every\(300\) or every\(timedelta"),
        (lambda: every(float("nan")), "finite period"),
        (lambda: at(NAIVE), "without a time zone"),
        (lambda: AT("noon"), "takes a datetime with a time zone, not 'noon'"),
        (lambda: every(5, args="abc"), r"write args=\('abc',\)"),
        (lambda: every(5, catch_up="some"), "catch_up must be 'skip', 'latest' or 'all'"),
        (lambda: actorq.cron("* * *"), "is no cron expression"),
        (lambda: actorq.cron("0 0 * * *", tz="Mars/Base"), "no known time zone"),
        (lambda: TASK(schedule=every(5)), "schedule expects a list of triggers"),
        (lambda: TASK(schedule=["0 0 * * *"]), "schedule expects a list of triggers"),
    ],
)
def test_wrong_schedules(make: Callable[[], object], said: str) -> None:
    """An `OptionError` where the schedule is written."""
    with pytest.raises(OptionError, match=said):
        make()


def test_a_schedule_whose_arguments_do_not_fit_its_task() -> None:
    """At the decorator, not at three in the morning."""
    for trigger in (every(5), every(5, args=("x",)), every(5, args=(1,), kwargs={"zzz": 1})):
        with pytest.raises(ArgumentsError, match="plain"):
            actorq.task(schedule=[trigger])(plain)
    actorq.task(schedule=[every(5, args=(1,))])(plain)


#: As untyped code calls them.
EVERY: Any = every
AT: Any = at
TASK: Any = actorq.task


# --- brokers and systems ------------------------------------------------------------------------


def test_wrong_parts_for_a_broker() -> None:
    """Classes where objects belong, above all."""
    broker: Any = InMemoryBroker()
    wrong: Any
    for wrong in (InMemoryResultBackend, None, "redis://", InMemoryBroker()):
        with pytest.raises(TypeError, match=r"with_result_backend\(\) expects a ResultBackend obj"):
            broker.with_result_backend(wrong)
    for wrong in (Middleware, None, print):
        with pytest.raises(
            TypeError, match=r"with_middlewares\(\) expects Middleware objects; got"
        ):
            broker.with_middlewares(wrong)
    with pytest.raises(TypeError, match=r"with_id_generator\(\) expects a function that .*; got 5"):
        broker.with_id_generator(5)
    for wrong in (plain, "add", add.name):
        with pytest.raises(TaskDefinitionError, match=r"register\(\) expects tasks; got"):
            broker.register(wrong)
    for lease in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="lease must be more than 0 seconds"):
            InMemoryBroker(lease=lease)


def test_a_half_written_result_backend() -> None:
    """Found out when the system opens, and not by the first task."""

    class Empty(actorq.ResultBackend):
        pass

    class Plain(InMemoryResultBackend):
        def set_result(self, task_id: str, result: Any) -> Any:
            return None

    async def main() -> None:
        backend: Any
        for backend, said in (
            (Empty(), r"Empty has no set_result\(\): write `async def set_result"),
            (Plain(), r"Plain.set_result\(\) must be an `async def` function"),
        ):
            with pytest.raises(TypeError, match=said):
                async with actorq.open_system(InMemoryBroker().with_result_backend(backend)):
                    raise AssertionError("it opened")

    simulate(main)


def test_one_result_backend_in_two_systems() -> None:
    """Refused, as a broker is."""

    async def main() -> None:
        backend = InMemoryResultBackend()
        async with actorq.open_system(InMemoryBroker().with_result_backend(backend)):
            with pytest.raises(actorq.SystemClosed, match="is open in another system already"):
                async with actorq.open_system(InMemoryBroker().with_result_backend(backend)):
                    raise AssertionError("it opened")
        async with actorq.open_system(InMemoryBroker().with_result_backend(backend)):
            pass  # one after the other is fine

    simulate(main)


def test_a_context_that_is_not_marked() -> None:
    """The natural slip, refused where it is written."""
    with pytest.raises(TaskDefinitionError, match=r"write `ctx: actorq.Context = actorq.Depends"):

        @actorq.task
        async def forgets(ctx: actorq.Context) -> None: ...


def test_a_name_that_is_none() -> None:
    """A task is found by its name."""
    decorate: Any = actorq.task
    for name in (5, ""):
        with pytest.raises(actorq.OptionError, match="name expects a string that is not empty"):
            decorate(name=name)(plain)


def test_an_executor_that_cannot_run_it_in_a_call() -> None:
    """As in the decorator."""
    with pytest.raises(actorq.OptionError, match="executor='thread' cannot run it"):
        add.using(executor="thread")


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        (
            {"broker": InMemoryBroker},
            TypeError,
            "expects a broker object, such as InMemoryBroker()",
        ),
        ({"broker": "memory://"}, TypeError, "got 'memory://'"),
        ({"concurrency": 0}, ValueError, "concurrency expects a whole number >= 1; got 0"),
        ({"concurrency": 2.5}, ValueError, "got 2.5"),
        ({"concurrency": True}, ValueError, "got True"),
        ({"grace": -1}, ValueError, "grace expects seconds >= 0; got -1"),
        ({"grace": "10"}, ValueError, "got '10'"),
        ({"shutdown_timeout": float("nan")}, ValueError, "shutdown_timeout expects seconds"),
        ({"tasks": [plain]}, TaskDefinitionError, "expects tasks; got <function plain"),
        ({"backoff": 5}, TypeError, "backoff expects a Backoff, such as"),
        ({"intensity": "x"}, ValueError, "intensity expects a number of incidents"),
        ({"intensity": 1.5}, ValueError, "got 1.5"),
        ({"period": 0}, ValueError, "period expects seconds, more than 0; got 0"),
    ],
)
def test_wrong_arguments_of_open_system(arguments: Any, kind: type[Exception], said: str) -> None:
    """Before anything starts."""

    async def main() -> None:
        with pytest.raises(kind, match=re.escape(said)):
            async with open_system(**arguments):
                raise AssertionError("unreachable")
        assert len(trio.lowlevel.current_task().child_nurseries) == 0

    simulate(main)


def test_open_system_without_trio() -> None:
    """Who comes from asyncio is told what is missing."""

    async def main() -> None:
        async with open_system():
            raise AssertionError("unreachable")

    with pytest.raises(RuntimeError, match=r"start the program with trio\.run\(main\)"):
        asyncio.run(main())


def test_a_hook_that_returns_nothing() -> None:
    """A forgotten `return message`: says so, names the middleware, stores nothing."""

    class Forgets(Middleware):
        def pre_send(self, message: TaskMessage) -> None:
            """Forget."""

    class Renames(Middleware):
        def pre_send(self, message: TaskMessage) -> TaskMessage:
            return attrs.evolve(message, task_id="other")

    async def main() -> None:
        for middleware, said in (
            (Forgets(), r"Forgets.pre_send must return the TaskMessage.*returned None"),
            (Renames(), "Renames.pre_send must not change the task_id"),
        ):
            broker = InMemoryBroker().with_middlewares(middleware)
            async with open_system(broker) as sys:
                with pytest.raises(actorq.ActorqError, match=said):
                    await sys.enqueue(add, 1)
                assert not broker.queue.live

    simulate(main)


def _odd(**changes: Any) -> TaskOptions:
    return attrs.evolve(TaskOptions(), **changes)


def _made_by_hand(**changes: Any) -> TaskMessage:
    message = TaskMessage("an id", "a task")
    for name, value in changes.items():
        message = attrs.evolve(message, **{name: value})
    return message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"eta": datetime.now(UTC)}, "eta must be Unix seconds; got datetime.datetime"),
        ({"eta": math.nan}, "eta must be Unix seconds; got nan"),
        ({"args": ["a list"]}, "args must be a tuple"),
        ({"task_name": "\ud800"}, "task_name must be what UTF-8 can write"),
        ({"options": {"retries": 3}}, "options must be TaskOptions; got {'retries': 3}"),
        (
            {"options": _odd(priority="high")},
            "priority expects a whole number",
        ),
        ({"options": _odd(queue=None)}, "queue expects"),
        ({"options": _odd(result_ttl="1 d")}, "result_ttl expects"),
        (
            {"options": _odd(result_ttl=timedelta(1))},
            "result_ttl is kept as 86400.0",
        ),
        ({"options": _odd(deliveries="3")}, "max_deliveries expects"),
        ({"terms": {"expires_at": 3}}, "terms must be Terms or None"),
        ({"terms": Terms(expires_at="soon")}, "expires_at must be Unix seconds"),  # type: ignore[arg-type]
        ({"terms": Terms(unique="key")}, "terms.unique must be a UniqueKey"),  # type: ignore[arg-type]
        ({"terms": Terms(permits=("key",))}, "terms.permits must be"),  # type: ignore[arg-type]
        ({"terms": Terms(chain=(_made_by_hand(eta="soon"),))}, "eta must be"),
    ],
)
def test_a_message_that_the_queue_cannot_keep_reaches_no_broker(
    changes: dict[str, Any], said: str
) -> None:
    """It would crash there, and who sent it would hear of an uncertain end."""

    class Changes(Middleware):
        def pre_send(self, message: TaskMessage) -> TaskMessage:
            return attrs.evolve(message, **changes)

    async def main() -> None:
        broker = InMemoryBroker().with_middlewares(Changes())
        async with open_system(broker) as sys:
            for _ in range(5):
                with pytest.raises(EnvelopeError, match=re.escape(said)):
                    await sys.enqueue(add, 1)
        async with open_system() as sys:
            for _ in range(5):
                with pytest.raises(EnvelopeError, match=re.escape(said)):
                    await sys.send(_made_by_hand(**changes))

    simulate(main)


def test_set_progress_with_something_else() -> None:
    """It fails the task, with the reason."""

    async def main() -> None:
        @actorq.task
        async def work(value: Any, ctx: actorq.Context = INJECTED) -> None:
            progress: Any = TaskProgress(meta={"x": Opaque()}) if value is None else value
            await ctx.set_progress(progress)

        async with open_system() as sys:
            with pytest.raises(
                TypeError, match=r"set_progress\(\) expects a TaskProgress; got 0.5"
            ):
                await (await sys.enqueue(work, 0.5)).result()
            with pytest.raises(NotSerializable):
                await (await sys.enqueue(work, None)).result()
            wrong: Any
            for wrong, kind in (
                (50, ValueError),
                ("x", TypeError),
                (True, TypeError),
                (-1, ValueError),
            ):
                with pytest.raises(kind, match="progress must be"):
                    TaskProgress(progress=wrong)

    simulate(main)


# --- envelopes ----------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def mutated(envelope: dict[str, Any]) -> st.SearchStrategy[Any]:
    """The envelope with some fields replaced, dropped or added; or anything at all."""
    changes = st.dictionaries(
        st.sampled_from([*envelope, "zzz"]), json_values | st.just(Opaque()), max_size=3
    )
    return st.one_of(
        json_values,
        st.dictionaries(st.one_of(st.text(max_size=3), st.integers()), json_values, max_size=3),
        st.builds(
            lambda change, drop: {k: v for k, v in {**envelope, **change}.items() if k not in drop},
            changes,
            st.sets(st.sampled_from(list(envelope)), max_size=2),
        ),
    )


MESSAGE = TaskMessage("a", "b", (1,), {"x": [2]}, eta=5.0, enqueued_at=1.0)
RESULT: TaskResult[Any] = TaskResult(is_err=True, error=ValueError("x"), labels={"a": 1}, log="l")
PROGRESS = TaskProgress(0.5, "x", 1, 2, {"a": 1})


@given(mutated(MESSAGE.to_dict()))
def test_any_garbage_as_a_task_message(data: Any) -> None:
    """42: an `EnvelopeError`, or a message that can be queued."""
    try:
        message = TaskMessage.from_dict(data)
    except EnvelopeError:
        return
    again = TaskMessage.from_dict(json.loads(json.dumps(message.to_dict(), allow_nan=False)))
    assert again.to_dict() == message.to_dict()


@given(mutated(RESULT.to_dict()))
def test_any_garbage_as_a_result(data: Any) -> None:
    """An `EnvelopeError`, or a result that can be stored and compared with others."""
    try:
        result = TaskResult.from_dict(data)
    except EnvelopeError:
        return
    assert result.attempts >= 1
    assert result.error is None or isinstance(result.error, Exception)
    assert inspect.isclass(type(result.to_dict()))


@given(mutated(PROGRESS.to_dict()))
def test_any_garbage_as_a_progress(data: Any) -> None:
    """An `EnvelopeError`, or a progress."""
    try:
        progress = TaskProgress.from_dict(data)
    except EnvelopeError:
        return
    assert 0.0 <= progress.progress <= 1.0
    assert TaskProgress.from_dict(progress.to_dict()) == progress


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, "reads envelope version 1; got 2"),
        ({"zzz": 1}, r"unknown fields in a task message: \['zzz'\]"),
        ({"task_id": ""}, "needs a task_id; got ''"),
        ({"task_name": None}, "needs a task_name; got None"),
        ({"args": "abc"}, "args must be a list"),
        ({"eta": "noon"}, "eta must be Unix seconds; got 'noon'"),
        ({"eta": float("nan")}, "eta"),
        ({"eta": float("inf")}, "eta"),
        ({"retries": -1}, "not a task message: .*retries expects"),
        ({"args": [Opaque()]}, "not a task message"),
        ({"kwargs": {5: 1}}, "a key is int 5"),
    ],
)
def test_what_is_wrong_with_a_message_is_named(change: dict[str, Any], said: str) -> None:
    """42: for the dead letters' reader."""
    with pytest.raises(EnvelopeError, match=said):
        TaskMessage.from_dict({**MESSAGE.to_dict(), **change})


@pytest.mark.parametrize(
    "change",
    [
        {"attempts": "2"},
        {"attempts": 0},
        {"log": 5},
        {"labels": None},
        {"is_err": 1},
        {"execution_time": "x"},
        {"error": "ValueError"},
        {"zzz": 1},
    ],
)
def test_what_is_wrong_with_a_result_is_named(change: dict[str, Any]) -> None:
    """A file that was damaged is not taken for a result."""
    with pytest.raises(EnvelopeError):
        TaskResult.from_dict({**RESULT.to_dict(), **change})


# --- looking into queues and dead letters, and messages made by hand -------------------------------

Use = Callable[[actorq.System], Awaitable[object]]
by_hand: Any = TaskMessage  # these two without the type checker's protection
open_with: Any = open_system


@pytest.mark.parametrize(
    ("use", "text"),
    [
        (
            lambda sys: sys.queued_tasks(limit="10"),
            "limit=...) expects a whole number >= 0; got '10'",
        ),
        (lambda sys: sys.queued_tasks(limit=-1), "expects a whole number >= 0; got -1"),
        (lambda sys: sys.queued_tasks(queue=[]), "the name of a queue, such as 'default'; got []"),
        (lambda sys: sys.pause([]), "pause() expects the name of a queue"),
        (lambda sys: sys.resume(None), "resume() expects the name of a queue"),
        (lambda sys: sys.purge(7), "purge() expects the name of a queue"),
        (lambda sys: sys.purge("\ud800"), "purge() expects what UTF-8 can write"),
        (lambda sys: sys.dead_task("\ud800"), "dead_task() expects what UTF-8 can write"),
        (lambda sys: sys.handle("\ud800").result(), "handle() expects the id of a task, which"),
        (lambda sys: sys.dead_tasks(limit=1.5), "whole number >= 0; got 1.5"),
        (lambda sys: sys.dead_tasks(task=add), "write task='test_bad_input:add'"),
        (lambda sys: sys.dead_task([]), "dead_task() expects the id of a task, a str; got []"),
        (lambda sys: sys.replay([]), "replay() expects the id of a task, a str; got []"),
        (lambda sys: sys.replay_all("abc"), "write replay_all(['abc'])"),
        (lambda sys: sys.replay_all([[]]), "replay_all() expects the id of a task"),
        (lambda sys: sys.purge_dead([[]]), "purge_dead() expects the id of a task"),
        (lambda sys: sys.purge_dead(5), "expects a list of ids, or nothing for all; got 5"),
        (lambda sys: sys.handle([]).result(), "handle() expects the id of a task, a str; got []"),
        (lambda sys: sys.handle("a", "add").result(), "a task made with @actorq.task; got 'add'"),
        (
            lambda sys: sys.send(by_hand([], "a")),
            "a task message's task_id must be a str; got []",
        ),
        (lambda sys: sys.send(by_hand("1", "")), "a task message needs a task_name; got ''"),
        (lambda sys: sys.send(by_hand("1", "a", "xy")), "args must be a tuple; got 'xy'"),
        (
            lambda sys: sys.send(by_hand("1", "a", options=5)),
            "options must be TaskOptions; got 5",
        ),
        (lambda sys: sys.send(by_hand("1", "a", eta="x")), "eta must be Unix seconds; got 'x'"),
    ],
)
async def test_what_an_actor_would_crash_on_is_refused_before_it(
    use: Use, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Of the mistakes that a user can make here, none costs the system a restart."""

    async def refused(sys: actorq.System) -> None:
        with pytest.raises((TypeError, ValueError), match=re.escape(text)):
            await use(sys)

    await in_a_system(refused)
    assert not [each for each in caplog.records if "crashed" in each.getMessage()]


@pytest.mark.parametrize(
    ("use", "text"),
    [
        (lambda sys: sys.enqueue(add.call(1), 2), "has all its arguments; enqueue() takes no more"),
        (lambda sys: sys.enqueue(add.step(b=2)), "lacks one argument, its first"),
        (lambda sys: sys.enqueue_many(add, 5), "such as [(1,), (2,)]; got 5"),
        (lambda sys: sys.map(add, 5).__aenter__(), "map() expects a list, or anything to iterate"),
        (
            lambda sys: sys.as_completed(5).__aenter__(),
            "as_completed() expects a list, or anything",
        ),
        (lambda sys: sys.map(add.call(1), [2]).__aenter__(), "a task that takes the items; <Call"),
        (lambda sys: open_with(tasks=5).__aenter__(), "expects a list of tasks; got 5"),
    ],
)
async def test_more_or_less_than_a_call_lacks(use: Use, text: str) -> None:
    """Told in the words of who calls, and not in those of what is called underneath."""

    async def refused(sys: actorq.System) -> None:
        with pytest.raises(TypeError, match=re.escape(text)):
            await use(sys)

    await in_a_system(refused)


def test_a_mapping_is_expected() -> None:
    """What only `dict()` understands is not told in its words."""
    with pytest.raises(OptionError, match=r"kwargs must be a dictionary, not \[1\]"):
        every(5, kwargs=[1])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"meta must be a dictionary, .*; got 'half'"):
        TaskProgress(progress=0.5, meta="half")  # type: ignore[arg-type]


async def test_why_a_result_is_gone(autojump_clock: trio.testing.MockClock) -> None:
    """The advice is for what happened: `max_stored_results` does not help where a time was over."""
    backend = InMemoryResultBackend(max_stored_results=1)
    async with open_system(InMemoryBroker().with_result_backend(backend)) as sys:
        brief = await sys.enqueue(add.using(result_ttl=1), 1)
        await brief.result()
        await trio.sleep(2)
        with pytest.raises(actorq.ResultGetError, match="was deleted: its result_ttl is over"):
            await brief.result()
        first = await sys.enqueue(add, 1)
        await first.result()
        await (await sys.enqueue(add, 2)).result()
        with pytest.raises(actorq.ResultGetError, match=r"was evicted: .* latest 1; .*max_stored"):
            await first.result()
