"""Dependencies: what a task asks for with `Depends`, made before it and cleaned up after it."""

from __future__ import annotations

import functools
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, Any, Generic, NewType, Protocol, TypeVar

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

import actorq
from actorq import (
    Context,
    Depends,
    InMemoryBroker,
    Progress,
    State,
    TaskDefinitionError,
    TaskProgress,
    TaskTimeout,
    open_system,
)
from actorq.dependencies import Dependencies
from actorq.dependency_graph import recipe_of
from actorq.testing import Tape, schedules, simulate


T = TypeVar("T")
log: list[str] = []


@pytest.fixture(autouse=True)
def _empty_log() -> None:
    log.clear()


def run(task: actorq.Task[..., T], *args: Any, broker: InMemoryBroker | None = None) -> T:
    """The result of one call, or its error."""

    async def main() -> T:
        with trio.fail_after(10_000):
            async with open_system(broker) as sys:
                return await (await sys.enqueue(task, *args)).result()

    return simulate(main)


def refusal(task: actorq.Task[..., Any], broker: InMemoryBroker | None = None) -> str:
    """What is said of a task whose dependencies cannot be: when it is enqueued, before it is stored."""
    with pytest.raises(TaskDefinitionError) as caught:
        run(task, broker=broker)
    return str(caught.value)


# --- what can be a dependency ---------------------------------------------------------------------


def a_function() -> str:
    """A plain function."""
    return "function"


async def an_async_function() -> str:
    """One that awaits."""
    await trio.lowlevel.checkpoint()
    return "async function"


def a_generator() -> Iterator[str]:
    """Cleans up."""
    log.append("open generator")
    yield "generator"
    log.append("close generator")


async def an_async_generator() -> AsyncIterator[str]:
    """Cleans up, and may await."""
    log.append("open async generator")
    yield "async generator"
    log.append("close async generator")


@contextmanager
def a_context_manager() -> Iterator[str]:
    """A context manager's function."""
    yield "context manager"
    log.append("close context manager")


@asynccontextmanager
async def an_async_context_manager() -> AsyncIterator[str]:
    """An async one's."""
    yield "async context manager"
    log.append("close async context manager")


class AClass:
    """Made by its `__init__`, whose parameters are injected too."""

    def __init__(self, text: str = Depends(a_function), more: int = 5) -> None:
        self.text = f"class of {text} {more}"

    def __str__(self) -> str:
        return self.text


@attrs.frozen
class AnAttrsClass:
    """Its `__init__` is generated, and its annotations are text."""

    text: Annotated[str, Depends(a_function)]

    def __str__(self) -> str:
        return f"attrs class of {self.text}"


class Callable_:
    """Its instances are dependencies."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __call__(self, inner: str = Depends(a_function)) -> str:
        return f"{self.text} of {inner}"


class AsyncCallable:
    """Likewise."""

    async def __call__(self) -> str:
        return "async instance"


class GeneratorCallable:
    """Likewise."""

    async def __call__(self) -> AsyncIterator[str]:
        yield "generator instance"
        log.append("close generator instance")


class Service:
    """Its methods are dependencies."""

    def method(self, inner: str = Depends(a_function)) -> str:
        return f"method of {inner}"


def hides(function: Callable[..., T]) -> Callable[..., T]:
    """A decorator of somebody's, who did not look at what it decorates."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> T:
        return function(*args, **kwargs)

    return wrapper


def part(text: str, inner: str = Depends(a_function)) -> str:
    """To be made a partial of."""
    return f"{text} of {inner}"


@pytest.mark.parametrize(
    ("dependency", "value", "closed"),
    [
        (a_function, "function", None),
        (an_async_function, "async function", None),
        (a_generator, "generator", "close generator"),
        (an_async_generator, "async generator", "close async generator"),
        (a_context_manager, "context manager", "close context manager"),
        (an_async_context_manager, "async context manager", "close async context manager"),
        (AClass, "class of function 5", None),
        (AnAttrsClass, "attrs class of function", None),
        (Callable_("instance"), "instance of function", None),
        (AsyncCallable(), "async instance", None),
        (GeneratorCallable(), "generator instance", "close generator instance"),
        (Service().method, "method of function", None),
        (functools.partial(part, "partial"), "partial of function", None),
        (lambda: an_async_function(), "async function", None),
        (hides(an_async_function), "async function", None),
        (hides(a_generator), "generator", "close generator"),
        (hides(an_async_generator), "async generator", "close async generator"),
        (hides(an_async_context_manager), "async context manager", "close async context manager"),
    ],
)
def test_what_can_be_a_dependency(
    dependency: Callable[..., Any], value: str, closed: str | None
) -> None:
    """T50: functions, classes, instances, generators, context managers; cleaned up after the task."""

    @actorq.task
    async def report(name: str, given: Any = Depends(dependency)) -> str:
        log.append("task")
        return f"{name}: {given}"

    assert run(report, "a") == f"a: {value}"
    assert [each for each in log if not each.startswith("open")] == [
        "task",
        *([closed] if closed else []),
    ]


def test_a_dependency_may_be_said_in_the_annotation() -> None:
    """`Annotated[T, Depends(f)]`; a parameter after it is passed by its name."""

    @actorq.task
    async def report(
        name: str, given: Annotated[str, "other", Depends(a_function)], end: str = "."
    ) -> str:
        return f"{name} {given}{end}"

    async def main() -> str:
        async with open_system() as sys:
            return await (await sys.enqueue(report, "a", end="!")).result()  # type: ignore[call-arg]

    assert simulate(main) == "a function!"


def test_an_annotation_may_have_a_default_for_type_checkers() -> None:
    """`Depends()` as the default leaves it to the annotation; `Depends(f)` there goes before it."""

    @actorq.task
    async def report(
        it: Annotated[str, Depends(a_function)] = Depends(),
        other: Annotated[str, Depends(a_function)] = Depends(an_async_function),
    ) -> list[str]:
        return [it, other]

    assert run(report) == ["function", "async function"]


def test_what_returns_a_context_manager_is_not_entered() -> None:
    """A lock that a function returns is a lock: only generators are cleaned up behind."""
    lock = threading.Lock()

    @actorq.task
    async def look(given: Any = Depends(lambda: lock)) -> bool:
        return bool(given.locked())

    assert run(look) is False


def test_a_plain_dependency_runs_in_the_loop() -> None:
    """As taskiq has it, and not in a thread, as FastAPI has it: that would cost fifty times as much."""

    @actorq.task
    async def same(name: str = Depends(lambda: threading.current_thread().name)) -> bool:
        return name == threading.current_thread().name

    assert run(same)


def test_a_task_in_a_thread_has_async_dependencies() -> None:
    """They are made in the loop before it, and cleaned up there after it."""

    async def connection() -> AsyncIterator[str]:
        yield threading.current_thread().name
        log.append(threading.current_thread().name)

    @actorq.task
    def compare(name: str = Depends(connection)) -> tuple[str, str]:
        return name, threading.current_thread().name

    async def main() -> tuple[str, str]:
        async with open_system() as sys:
            return await (await sys.enqueue(compare)).result()

    made_in, ran_in = trio.run(main)
    assert made_in == threading.current_thread().name
    assert ran_in != made_in
    assert log == [made_in]


# --- how often ------------------------------------------------------------------------------------


def counter() -> Callable[[], int]:
    """A dependency that counts its calls."""
    calls = 0

    def count() -> int:
        nonlocal calls
        calls += 1
        return calls

    return count


def test_a_dependency_is_made_once_for_an_attempt() -> None:
    """T50: however often it is asked for, directly or by others; unless caching is off."""
    count = counter()

    def sub(n: int = Depends(count)) -> int:
        return n

    def fresh(n: int = Depends(count, use_cache=False)) -> int:
        return n

    @actorq.task
    async def look(
        a: int = Depends(count),
        b: int = Depends(count),
        c: int = Depends(sub),
        d: int = Depends(fresh),
        e: int = Depends(count, use_cache=False),
        f: int = Depends(sub, use_cache=False),
    ) -> list[int]:
        return [a, b, c, d, e, f]

    assert run(look) == [1, 1, 1, 2, 3, 1]


def test_the_next_attempt_has_its_own() -> None:
    """Resolved values live for one attempt."""
    count = counter()

    @actorq.task(retries=2)
    async def look(n: int = Depends(count)) -> int:
        if n < 3:
            raise ValueError(n)
        return n

    assert run(look) == 3


class Same:
    """All of them are equal, and none can be hashed."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same)

    def __call__(self) -> int:
        return id(self)


def test_what_cannot_be_hashed_is_told_apart_by_identity() -> None:
    """An instance's equality is its author's business."""
    one, two = Same(), Same()

    @actorq.task
    async def look(a: int = Depends(one), b: int = Depends(two), c: int = Depends(one)) -> bool:
        return (a, b, c) == (id(one), id(two), id(one))

    assert run(look)


@given(tape=schedules())
def test_concurrent_tasks_have_their_own(tape: Tape) -> None:
    """A19: 5 concurrent tasks with awaiting dependencies each see their own context."""

    async def slow(ctx: Context = Depends()) -> str:
        await trio.lowlevel.checkpoint()
        return ctx.task_id

    async def slower(inner: str = Depends(slow), ctx: Context = Depends()) -> tuple[str, str]:
        await trio.lowlevel.checkpoint()
        return inner, ctx.task_id

    @actorq.task
    async def look(
        fresh: tuple[str, str] = Depends(slower, use_cache=False),
        cached: str = Depends(slow),
        progress: Progress = Depends(),
        ctx: Context = Depends(),
    ) -> list[str]:
        await progress.set(1, 2, meta={"id": ctx.task_id})
        return [*fresh, cached, ctx.task_id]

    async def main() -> None:
        async with open_system() as sys:
            handles = [await sys.enqueue(look) for _ in range(5)]
            for handle in handles:
                assert await handle.result() == [handle.task_id] * 4
                said = await handle.get_progress()
                assert said is not None
                assert said.meta == {"id": handle.task_id}

    simulate(main, tape=tape)


# --- by annotation --------------------------------------------------------------------------------


@attrs.define
class Database:
    """The application's."""

    url: str


class AppState(State):
    """A state with types."""

    database: Database


UserId = NewType("UserId", int)


class Store(Protocol):
    """Something that the application supplies."""

    url: str


class Abstract(ABC):
    """Nothing can be made of it."""

    @abstractmethod
    def do(self) -> None: ...


Model = TypeVar("Model")


class Repository(Generic[Model]):
    """A generic class, whose parameter is known where it is asked for."""

    def __init__(self, model: Model = Depends(), kind: type[Model] = Depends()) -> None:
        self.model = model
        self.kind = kind


def test_values_of_the_application_are_given_by_their_type() -> None:
    """T26: a value supplied for a type goes to who asks for that type, and the very same one."""
    database = Database("here")
    broker = InMemoryBroker().with_dependency(Database, database).with_dependency(UserId, UserId(7))
    broker.with_dependency(Store, database)

    def sub(db: Database = Depends(), user: UserId = Depends()) -> bool:
        return db is database and user == 7

    @broker.task
    async def look(
        db: Database = Depends(),
        explicit: Database = Depends(Database),
        marked: Annotated[Store | None, Depends(Store)] = None,
        below: bool = Depends(sub),
    ) -> bool:
        return db is database and explicit is database and marked is database and below

    assert run(look, broker=broker)


def test_what_is_supplied_may_be_exchanged_while_the_system_is_open() -> None:
    """From the next attempt on."""
    broker = InMemoryBroker().with_dependency(Database, Database("first"))

    @broker.task
    async def look(db: Database = Depends(), state: State = Depends()) -> str:
        return f"{db.url} {state.name}"

    async def main() -> list[str]:
        async with open_system(broker):
            broker.state.name = "one"
            results = [await (await look.kiq()).result()]
            broker.with_dependency(Database, Database("second"))
            broker.state = State(name="two")
            return [*results, await (await look.kiq()).result()]

    assert simulate(main) == ["first one", "second two"]


def test_a_class_is_made_if_nothing_is_supplied() -> None:
    """As in FastAPI: `x: Class = Depends()` is short for `Depends(Class)`."""

    @actorq.task
    async def look(it: AClass = Depends(), again: AClass = Depends(AClass)) -> str:
        assert it is again
        return str(it)

    assert run(look) == "class of function 5"


def test_a_generic_class_knows_its_parameter() -> None:
    """Type variables in its `__init__` stand for what was said in the brackets."""
    broker = InMemoryBroker().with_dependency(Database, Database("there"))
    broker.with_dependency(type[Database], Database)

    @broker.task
    async def look(it: Repository[Database] = Depends(Repository[Database])) -> str:
        assert it.kind is Database
        return it.model.url

    assert run(look, broker=broker) == "there"


def test_the_state_is_the_broker_s() -> None:
    """`broker.state`, `sys.state` and `state: State = Depends()` are one object."""
    broker = InMemoryBroker()
    broker.state.greeting = "hello"

    @broker.task
    async def look(state: State = Depends()) -> str:
        return f"{state.greeting} {state['name']}"

    async def main() -> str:
        async with open_system(broker) as sys:
            assert sys.state is broker.state
            sys.state.name = "you"
            return await (await look.kiq()).result()

    assert simulate(main) == "hello you"


def test_a_state_of_one_s_own_class() -> None:
    """Tasks may ask for it as what it is, and as a `State`."""
    state = AppState(database=Database("here"))
    broker = InMemoryBroker()
    broker.state = state

    @broker.task
    async def look(mine: AppState = Depends(), any_: State = Depends()) -> str:
        assert mine is any_
        return mine.database.url

    assert run(look, broker=broker) == "here"
    assert "wants the state as a AppState" in refusal(look, InMemoryBroker())


def test_progress_is_said_in_numbers() -> None:
    """`progress.set(done, total)`, and `progress.track(items)`."""
    heard: list[TaskProgress] = []

    @actorq.task
    async def work(progress: Progress = Depends()) -> None:
        await progress.set(1, 4, status="half a half", meta={"a": 1})
        assert progress.last.current == 1
        await progress.set(7)
        await progress.set(0, 0)
        log.extend([item async for item in progress.track("ab")])
        log.extend([item async for item in progress.track(iter("c"), total=1, status="again")])

    async def main() -> None:
        async with open_system() as sys:
            heard.extend([each async for each in (await sys.enqueue(work)).progress()])

    simulate(main)
    assert heard[:3] == [
        TaskProgress(0.25, "half a half", 1, 4, {"a": 1}),
        TaskProgress(0.0, "RUNNING", 7, None),
        TaskProgress(1.0, "RUNNING", 0, 0),
    ]
    assert [(each.status, each.progress) for each in heard[3:]] == [
        ("RUNNING", 0.0),
        ("RUNNING", 0.5),
        ("RUNNING", 1.0),
        ("again", 0.0),
        ("again", 1.0),
    ]
    assert log == ["a", "b", "c"]


async def test_progress_that_cannot_be() -> None:
    """Told where it is said."""

    async def nowhere(_: TaskProgress) -> None: ...

    progress = Progress(nowhere)
    with pytest.raises(ValueError, match=r"done expects 0 to total \(3\); got 4"):
        await progress.set(4, 3)
    with pytest.raises(ValueError, match="done expects 0"):
        await progress.set(-1)
    with pytest.raises(TypeError, match=r"done expects a whole number; got 0\.5"):
        await progress.set(0.5)  # type: ignore[arg-type]
    assert progress.last == TaskProgress()


# --- clean-up -------------------------------------------------------------------------------------


def opens(name: str, *needs: Callable[..., Any], seconds: float = 0.0) -> Callable[..., Any]:
    """A dependency that logs what becomes of it; *needs* come before it."""

    async def dependency(inner: Any = Depends(needs[0]) if needs else None) -> AsyncIterator[str]:
        log.append(f"open {name}")
        try:
            yield name
        except BaseException as error:
            log.append(f"{name} sees {type(error).__name__}")
            raise
        finally:
            await trio.sleep(seconds)
            log.append(f"close {name}")

    return dependency


def plainly_opens(name: str) -> Callable[..., Any]:
    """The same without Trio."""

    def dependency() -> Iterator[str]:
        log.append(f"open {name}")
        try:
            yield name
        except BaseException as error:
            log.append(f"{name} sees {type(error).__name__}")
            raise
        finally:
            log.append(f"close {name}")

    return dependency


def test_clean_up_goes_in_reverse_and_sees_the_failure() -> None:
    """T50: generators and context managers are torn down in reverse; they see the task's exception."""
    a = opens("a")
    b = opens("b", a, seconds=3)
    c = plainly_opens("c")

    @actorq.task
    async def fail(one: str = Depends(b), two: str = Depends(c)) -> None:
        raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        run(fail)
    opened = ["open a", "open b", "open c"]
    assert log == [
        *opened,
        *("c sees ValueError", "close c", "b sees ValueError", "close b"),
        *("a sees ValueError", "close a"),
    ]


def test_the_traceback_begins_with_the_task() -> None:
    """How its dependencies were made and told of it says nothing to its author."""

    @actorq.task(timeout=5)
    async def fail(it: str = Depends(opens("a"))) -> None:
        raise LookupError("on purpose")

    with pytest.raises(LookupError) as caught:
        run(fail)
    remote = "".join(getattr(caught.value, "__notes__", [])) + str(caught.value.__cause__)
    assert "on purpose" in remote
    assert "in fail" in remote
    for caller in ("runner.py", "attempt.py", "dependency_resolver.py", "contextlib.py"):
        assert caller not in remote


def test_a_dependency_that_fails_to_open_closes_those_before_it() -> None:
    """Its exception is theirs, and the attempt's."""

    async def fails(inner: str = Depends(opens("a"))) -> str:
        raise ValueError("not today")

    @actorq.task
    async def never(it: str = Depends(fails)) -> None:
        log.append("task")

    with pytest.raises(ValueError, match="not today"):
        run(never)
    assert log == ["open a", "a sees ValueError", "close a"]


def test_clean_up_after_a_timeout_may_await() -> None:
    """It is shielded; and its own time is not the task's."""

    @actorq.task(timeout=5)
    async def slow(it: str = Depends(opens("a", seconds=3))) -> None:
        await trio.sleep(60)

    @actorq.task(timeout=5)
    async def in_time(it: str = Depends(opens("b", seconds=3))) -> str:
        await trio.sleep(4)
        return "fine"

    with pytest.raises(TaskTimeout):
        run(slow)
    assert log == ["open a", "a sees Cancelled", "close a"]
    assert run(in_time) == "fine"


def test_opening_counts_for_the_timeout() -> None:
    """What a dependency takes to come is the attempt's time."""

    async def slow(a: str = Depends(opens("a"))) -> str:
        await trio.sleep(60)
        return "late"

    @actorq.task(timeout=5)
    async def quick(it: str = Depends(slow)) -> None:
        log.append("task")

    with pytest.raises(TaskTimeout):
        run(quick)
    assert log == ["open a", "a sees Cancelled", "close a"]


@pytest.mark.parametrize("seconds", [3, 30])
def test_clean_up_after_a_cancellation_may_await(seconds: int) -> None:
    """As long as the grace; after that it is cancelled itself, and the others are closed still."""

    @actorq.task
    async def forever(
        one: str = Depends(opens("a")), two: str = Depends(opens("b", seconds=seconds))
    ) -> None:
        await trio.sleep_forever()

    async def main() -> float:
        async with open_system() as sys:
            handle = await sys.enqueue(forever)
            await trio.sleep(1)
            assert await handle.cancel()
            with pytest.raises(actorq.TaskCancelled):
                await handle.result()
            return trio.current_time()

    took = simulate(main) - simulate(_now)
    assert took == pytest.approx(1 + min(seconds, 10))
    if seconds == 3:
        closed = ["b sees Cancelled", "close b", "a sees Cancelled", "close a"]
    else:
        closed = ["b sees Cancelled", "a sees Cancelled"]
    assert log == ["open a", "open b", *closed]


async def _now() -> float:
    return trio.current_time()


def test_a_failing_clean_up_after_a_success() -> None:
    """A10: it is the attempt's error; dependencies further out see it, and it is logged once."""

    async def commits(inner: str = Depends(opens("a"))) -> AsyncIterator[str]:
        yield "session"
        raise ConnectionError("commit failed")

    @actorq.task
    async def work(it: str = Depends(commits)) -> str:
        return "done"

    records = collected_logs()
    with pytest.raises(ConnectionError, match="commit failed"):
        run(work)
    assert log == ["open a", "a sees ConnectionError", "close a"]
    assert [each for each in records() if "commit failed" in each] == records()
    assert len(records()) == 1


def collected_logs() -> Callable[[], list[str]]:
    """What actorq logs from now on, in this test."""
    logger, found = logging.getLogger("actorq"), list[str]()
    handler = logging.Handler()
    handler.emit = lambda record: found.append(  # type: ignore[method-assign]
        f"{record.getMessage()} {record.exc_info and record.exc_info[1]!r}"
    )
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING)

    def end() -> list[str]:
        logger.removeHandler(handler)
        logger.setLevel(logging.CRITICAL)
        return found

    return end


def test_a_failing_clean_up_is_retried_like_any_failure() -> None:
    """The attempt has failed, and the next one may do better."""
    count = counter()

    async def commits(n: int = Depends(count)) -> AsyncIterator[int]:
        yield n
        if n == 1:
            raise ConnectionError("commit failed")

    @actorq.task(retries=1)
    async def work(n: int = Depends(commits)) -> int:
        return n

    assert run(work) == 2


def test_a_failing_clean_up_after_a_failure() -> None:
    """A10: the task's own error stands, and the other is logged once."""

    async def rolls_back() -> AsyncIterator[str]:
        try:
            yield "session"
        finally:
            raise ConnectionError("rollback failed")

    @actorq.task
    async def work(it: str = Depends(rolls_back)) -> None:
        raise ValueError("on purpose")

    records = collected_logs()
    with pytest.raises(ValueError, match="on purpose"):
        run(work)
    (said,) = [each for each in records() if "rollback" in each]
    assert "rolls_back failed, after the task had failed" in said
    assert "ConnectionError('rollback failed')" in said


def test_a_dependency_may_translate_the_failure() -> None:
    """What it raises from the task's exception takes its place, for those further out too."""

    def translates(inner: str = Depends(plainly_opens("a"))) -> Iterator[str]:
        try:
            yield "session"
        except KeyError as error:
            raise ValueError("no such thing") from error

    @actorq.task
    async def work(it: str = Depends(translates)) -> None:
        raise KeyError("thing")

    with pytest.raises(ValueError, match="no such thing"):
        run(work)
    assert log == ["open a", "a sees ValueError", "close a"]


@contextmanager
def swallows() -> Iterator[str]:
    """What no dependency may do."""
    try:
        yield "it"
    except BaseException as error:
        log.append(f"swallowed {type(error).__name__}")


def test_a_task_that_is_done_without_a_result_is_no_failure_to_them() -> None:
    """`NoResult` says that the work is done: it is committed, and there is no result all the same."""

    @actorq.task
    async def work(it: str = Depends(opens("a"))) -> None:
        raise actorq.NoResult

    with pytest.raises(actorq.ResultGetError):
        run(work)
    assert log == ["open a", "close a"]


def test_a_dependency_may_send_the_task_back() -> None:
    """T35: requeued or retried from a dependency, the task runs again; those before it are told."""

    async def not_yet(before: str = Depends(opens("a")), ctx: Context = Depends()) -> int:
        tries.append(ctx.attempt)
        if len(tries) == 1:
            await ctx.requeue()
        if len(tries) == 2:
            raise actorq.Retry(1)
        return len(tries)

    tries: list[int] = []

    @actorq.task(retries=1)
    async def work(it: int = Depends(not_yet)) -> int:
        return it

    assert run(work) == 3
    assert log == [
        *("open a", "a sees Requeued", "close a"),
        *("open a", "a sees Retry", "close a"),
        *("open a", "close a"),
    ]


def test_a_dependency_cannot_swallow_a_failure() -> None:
    """There is no value to return in its place."""

    @actorq.task
    async def work(it: str = Depends(swallows)) -> None:
        raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        run(work)
    assert log == ["swallowed ValueError"]


def test_a_dependency_cannot_swallow_a_cancellation() -> None:
    """The attempt ends as cancelled, or as timed out, all the same."""

    @actorq.task(timeout=5)
    async def work(it: str = Depends(swallows)) -> None:
        await trio.sleep_forever()

    with pytest.raises(TaskTimeout):
        run(work)
    assert log == ["swallowed Cancelled"]


def test_a_clean_up_that_fails_when_the_task_is_cancelled() -> None:
    """It is logged; the cancellation goes on."""

    async def fails() -> AsyncIterator[str]:
        try:
            yield "it"
        finally:
            raise ConnectionError("close failed")

    @actorq.task(timeout=5)
    async def work(it: str = Depends(fails)) -> None:
        await trio.sleep_forever()

    records = collected_logs()
    with pytest.raises(TaskTimeout):
        run(work)
    assert len([each for each in records() if "close failed" in each]) == 1


def test_a_dependency_may_hold_a_nursery_open() -> None:
    """Its clean-up scope is outside of it; the failure comes out naked."""

    async def nursery() -> AsyncIterator[trio.Nursery]:
        async with trio.open_nursery() as opened:
            yield opened
            opened.cancel_scope.cancel()
        log.append("closed")

    @actorq.task
    async def work(fails: bool, helpers: trio.Nursery = Depends(nursery)) -> str:
        helpers.start_soon(trio.sleep_forever)
        if fails:
            raise ValueError("on purpose")
        return "done"

    assert run(work, False) == "done"
    records = collected_logs()
    with pytest.raises(ValueError, match="on purpose"):
        run(work, True)
    assert log == ["closed"]
    assert not [each for each in records() if "clean-up" in each]  # a group of the same is no news


def test_what_a_dependency_cancels_it_explains() -> None:
    """A background task of its crashes, or its own limit is reached: that is the attempt's error."""

    async def background() -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(crashes_soon)
            yield
            nursery.cancel_scope.cancel()

    async def crashes_soon() -> None:
        await trio.sleep(1)
        raise ConnectionError("gone")

    async def limit() -> AsyncIterator[None]:
        with trio.fail_after(2):
            yield

    async def silent_limit() -> AsyncIterator[None]:
        with trio.move_on_after(3):
            yield

    outermost = opens("a")

    def waits_for(dependency: Callable[..., Any]) -> actorq.Task[..., None]:
        @actorq.task
        async def work(outer: Any = Depends(outermost), it: Any = Depends(dependency)) -> None:
            await trio.sleep_forever()

        return work

    with pytest.raises(ExceptionGroup, match="Trio nursery") as caught:
        run(waits_for(background))
    assert caught.group_contains(ConnectionError, match="gone")
    with pytest.raises(actorq.TaskFailed, match="TooSlowError"):
        run(waits_for(limit))
    with pytest.raises(RuntimeError, match="silent_limit cancelled the task that it served"):
        run(waits_for(silent_limit))
    assert log == [
        *("open a", "a sees ExceptionGroup", "close a"),
        *("open a", "a sees TooSlowError", "close a"),
        *("open a", "a sees RuntimeError", "close a"),
    ]


def test_a_ctrl_c_in_a_clean_up_ends_the_system() -> None:
    """It is nobody's failure; what is further out is closed before."""

    async def interrupted(inner: str = Depends(opens("a"))) -> AsyncIterator[None]:
        try:
            yield
        finally:
            raise KeyboardInterrupt

    @actorq.task
    async def work(it: None = Depends(interrupted)) -> None:
        raise ValueError("on purpose")

    with pytest.raises(KeyboardInterrupt):
        run(work)
    assert log == ["open a", "a sees KeyboardInterrupt", "close a"]


def test_who_returns_too_late_has_run_out_of_time() -> None:
    """A function that swallows its cancellation; its dependencies see why it counts for nothing."""

    @actorq.task(timeout=5)
    async def stubborn(it: str = Depends(opens("a"))) -> str:
        with trio.CancelScope(shield=True):
            await trio.sleep(6)
        return "late"

    with pytest.raises(TaskTimeout):
        run(stubborn)
    assert log == ["open a", "a sees TaskTimeout", "close a"]


def test_a_clean_up_after_a_success_is_bounded() -> None:
    """By the broker's grace; a commit that hangs is a failure."""
    broker = InMemoryBroker().with_dependency_grace(2)

    async def commits() -> AsyncIterator[str]:
        yield "session"
        await trio.sleep_forever()

    @broker.task
    async def work(outer: str = Depends(opens("a")), it: str = Depends(commits)) -> str:
        return "done"

    async def main() -> float:
        async with open_system(broker):
            began = trio.current_time()
            with pytest.raises(TaskTimeout, match=r"clean-up of .*commits took longer than 2 s"):
                await (await work.kiq()).result()
            return trio.current_time() - began

    assert simulate(main) == 2
    with pytest.raises(ValueError, match="expects seconds >= 0; got -1"):
        broker.with_dependency_grace(-1)


@pytest.mark.parametrize("fails", [False, True])
def test_a_generator_that_yields_twice(fails: bool) -> None:
    """It is an error, and it is closed there and then, not by the garbage collector."""

    async def twice() -> AsyncIterator[int]:
        try:
            try:
                yield 1
            except ValueError:
                log.append("again")
            yield 2
        finally:
            log.append("closed")

    @actorq.task
    async def work(it: int = Depends(twice)) -> None:
        if fails:
            raise ValueError("on purpose")

    expected = ValueError if fails else RuntimeError
    with pytest.raises(expected, match="on purpose" if fails else "generator didn't stop"):
        run(work)
    assert log == (["again"] if fails else []) + ["closed"]


def test_a_generator_that_yields_nothing() -> None:
    """There is no value."""

    async def never() -> AsyncIterator[int]:
        if log:
            yield 1

    @actorq.task
    async def work(it: int = Depends(never)) -> None: ...

    with pytest.raises(RuntimeError, match="generator didn't yield"):
        run(work)


@attrs.frozen
class Life:
    """What a drawn dependency does."""

    opening: float
    closing: float
    fails_to_open: bool
    fails_to_close: bool


lives = st.lists(
    st.builds(
        Life,
        opening=st.sampled_from([0.0, 1.0]),
        closing=st.sampled_from([0.0, 1.0]),
        fails_to_open=st.sampled_from([False, False, False, True]),
        fails_to_close=st.sampled_from([False, False, True]),
    ),
    max_size=4,
)


@given(
    lives=lives,
    seconds=st.sampled_from([0.0, 1.0, 2.0]),
    fails=st.booleans(),
    cancel_after=st.sampled_from([None, 0.0, 0.5, 1.5, 2.5, 3.5]),
    tape=schedules(),
)
def test_whatever_happens_what_was_opened_is_closed_in_reverse(
    lives: list[Life], seconds: float, fails: bool, cancel_after: float | None, tape: Tape
) -> None:
    """T50: each that was opened is closed once, the last one first, before its waiter is woken."""
    opened: list[int] = []
    closed: list[int] = []

    def dependency(number: int, life: Life, before: Callable[..., Any]) -> Callable[..., Any]:
        async def alive(_: Any = Depends(before)) -> AsyncIterator[None]:
            await trio.sleep(life.opening)
            if life.fails_to_open:
                raise ValueError("open")
            opened.append(number)
            try:
                yield
            finally:
                await trio.sleep(life.closing)
                closed.append(number)
                if life.fails_to_close:
                    raise ValueError("close")

        return alive

    async def main() -> None:
        last: Callable[..., Any] = a_function
        for number, life in enumerate(lives):
            last = dependency(number, life, last)

        @actorq.task
        async def work(_: Any = Depends(last)) -> str:
            await trio.sleep(seconds)
            if fails:
                raise KeyError("task")
            return "done"

        async with open_system() as sys:
            handle = await sys.enqueue(work)
            took_effect = False
            if cancel_after is not None:
                await trio.sleep(cancel_after)
                took_effect = await handle.cancel()
            outcome = await handle.wait_result()
            assert closed == opened[::-1]
            if took_effect:
                assert isinstance(outcome.error, actorq.TaskCancelled)
            elif any(life.fails_to_open for life in lives):
                assert isinstance(outcome.error, ValueError)
            elif fails:
                assert isinstance(outcome.error, KeyError)
            elif any(life.fails_to_close for life in lives):
                assert isinstance(outcome.error, ValueError)
            else:
                assert outcome.return_value == "done"

    simulate(main, tape=tape)


# --- overrides ------------------------------------------------------------------------------------


def test_overrides_replace_what_is_asked_for() -> None:
    """T50: in tasks, in dependencies of dependencies, without the cache; with their own dependencies."""
    broker = InMemoryBroker()

    def sub(
        it: str = Depends(a_function), again: str = Depends(a_function, use_cache=False)
    ) -> str:
        return f"{it}, {again}"

    @broker.task
    async def look(
        it: str = Depends(a_function),
        fresh: str = Depends(a_function, use_cache=False),
        below: str = Depends(sub, use_cache=False),
        ctx: Context = Depends(),
    ) -> list[str]:
        return [it, fresh, below]

    def fake(ctx: Context = Depends(), other: str = Depends(an_async_function)) -> str:
        return f"fake with {other}"

    async def main() -> None:
        async with open_system(broker):

            async def looked() -> list[str]:
                return await (await look.kiq()).result()

            real = ["function", "function", "function, function"]
            with broker.override(a_function, fake):
                one = "fake with async function"
                assert await looked() == [one, one, f"{one}, {one}"]
                with broker.override(a_function, lambda: "other"):
                    assert (await looked())[0] == "other"
                assert (await looked())[0] == one
            assert await looked() == real
            broker.dependency_overrides[a_function] = an_async_generator
            assert (await looked())[0] == "async generator"
            broker.dependency_overrides = {sub: lambda: "no sub"}
            assert await looked() == ["function", "function", "no sub"]
            broker.dependency_overrides.clear()
            assert await looked() == real

    simulate(main)


def test_values_by_type_are_overridden_too() -> None:
    """By that type: the context, the state, what the application supplies."""
    broker = InMemoryBroker().with_dependency(Database, Database("real"))

    @broker.task
    async def look(db: Database = Depends(), state: State = Depends()) -> str:
        return f"{db.url} {state}"

    broker.dependency_overrides[Database] = lambda: Database("fake")
    broker.dependency_overrides[State] = lambda: "no state"
    assert run(look, broker=broker) == "fake no state"


def test_a_wrong_override() -> None:
    """The natural slips."""
    broker = InMemoryBroker()
    overrides: Any = broker.dependency_overrides
    with pytest.raises(TypeError, match="write `lambda: value`"):
        overrides[a_function] = "value"
    with pytest.raises(TypeError, match="replaces the function or class of a Depends"):
        overrides["a_function"] = a_function
    with (
        pytest.raises(TypeError, match="write `lambda: value`"),
        broker.override(a_function, overrides),
    ):
        raise AssertionError("it was taken")
    assert dict(overrides) == {}


def test_no_graph_is_built_for_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for a task, once more when overrides have changed: not for each execution."""
    built: list[str] = []

    def counting(title: str, *rest: Any) -> Any:
        built.append(title)
        return recipe_of(title, *rest)

    monkeypatch.setattr("actorq.dependencies.recipe_of", counting)
    broker = InMemoryBroker()

    @broker.task(name="look")
    async def look(it: str = Depends(a_function)) -> str:
        return it

    async def main() -> None:
        async with open_system(broker) as sys:
            for handle in await sys.enqueue_many(look, [()] * 10):
                await handle.result()
            assert built == ["look"]
            with broker.override(a_function, an_async_function):
                for handle in await sys.enqueue_many(look.using(labels={"a": 1}), [()] * 10):
                    await handle.result()
            assert built == ["look", "look"]

    simulate(main)


# --- what cannot be -------------------------------------------------------------------------------


def circle_a(b: str = "") -> str:
    """Needs b, which needs c, which needs a."""
    return b


def circle_b(c: str = "") -> str:
    """The second."""
    return c


def circle_c(a: str = Depends(circle_a)) -> str:
    """The third."""
    return a


circle_b.__defaults__ = (Depends(circle_c),)
circle_a.__defaults__ = (Depends(circle_b),)


def test_a_circle_is_named_in_full() -> None:
    """When the task becomes known, not when the recursion is too deep."""

    def outside(it: str = Depends(circle_b)) -> str:
        return it

    @actorq.task
    async def work(it: str = Depends(outside)) -> None: ...

    assert refusal(work).endswith(
        "dependencies in a circle: circle_b -> circle_c -> circle_a -> circle_b"
    )


def needs_a_name(name: str) -> str:
    """A parameter that nothing fills in."""
    return name


def needs_the_context(ctx: Context) -> str:
    """A parameter that is not marked."""
    return ctx.task_id


def needs_by_position(it: str = Depends(a_function), /) -> str:
    """A parameter that cannot be passed by name."""
    return it


@pytest.mark.parametrize(
    ("dependency", "said"),
    [
        (needs_a_name, r"needs_a_name: nothing fills in its parameter 'name': mark it"),
        (needs_the_context, r"write `ctx: actorq\.Context = actorq\.Depends\(\)`"),
        (
            Database,
            r"'url': mark it .*, or supply it all: `broker.with_dependency\(Database, value\)`",
        ),
        (needs_by_position, r"parameter 'it' is marked, and cannot be passed by its name"),
        (type, "type has no readable signature|nothing fills in"),
        (Repository, "parameter 'model' is marked with Depends.., and nothing supplies ~Model"),
    ],
)
def test_what_cannot_be_filled_in_is_refused(dependency: Callable[..., Any], said: str) -> None:
    """When the task becomes known: the way to it is named."""

    def between(it: Any = Depends(dependency)) -> Any:
        return it

    @actorq.task(name="work")
    async def work(it: Any = Depends(between)) -> None: ...

    refused = refusal(work)
    assert refused.startswith("task 'work': ")
    assert ".between: " in refused
    with pytest.raises(TaskDefinitionError, match=said):
        raise TaskDefinitionError(refused)


@actorq.task
async def no_annotation(it=Depends()) -> None:  # type: ignore[no-untyped-def]
    """Says not what it wants."""


@actorq.task
async def unresolved(it: NotDefinedAnywhere = Depends()) -> None:  # type: ignore[name-defined]  # noqa: F821
    """Names what is not there."""


@actorq.task
async def a_number(it: int = Depends()) -> None:
    """Of which there are too many."""


@actorq.task
async def abstract(it: Abstract = Depends()) -> None:
    """Of which there are none."""


@actorq.task
async def protocol(it: Store = Depends()) -> None:
    """Likewise."""


@actorq.task
async def optional(it: Database | None = Depends()) -> None:
    """Not a class."""


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (no_annotation, "the parameter 'it' is marked with Depends() and has no type"),
        (
            unresolved,
            "the annotation 'NotDefinedAnywhere' of the parameter 'it' cannot be resolved",
        ),
        (a_number, "nothing supplies int: say `broker.with_dependency(int, value)`"),
        (abstract, "nothing supplies Abstract"),
        (protocol, "nothing supplies Store"),
        (optional, "nothing supplies test_dependencies.Database | None"),
    ],
)
def test_what_an_annotation_cannot_name_is_refused(task: actorq.Task[..., Any], said: str) -> None:
    """When the task becomes known."""
    assert said in refusal(task)


def test_what_is_not_marked_is_refused_where_it_is_written() -> None:
    """The state and the progress like the context."""
    with pytest.raises(TaskDefinitionError, match=r"write `p: actorq\.Progress = actorq\.Depends"):

        @actorq.task
        async def forgets(p: Progress) -> None: ...

    with pytest.raises(TaskDefinitionError, match=r"fills in the state only if you mark"):

        @actorq.task
        async def forgets_too(state: State) -> None: ...


def test_a_wrong_mark() -> None:
    """The natural slips."""
    depends: Any = Depends
    with pytest.raises(TypeError, match="expects a function or a class, such as"):
        depends("get_db")
    with pytest.raises(TypeError, match=r"got Depends\(a_function\)"):
        depends(Depends(a_function))
    with pytest.raises(TypeError, match="use_cache expects True or False; got 1"):
        depends(a_function, use_cache=1)
    assert repr(Depends(a_function, use_cache=False)) == "Depends(a_function, use_cache=False)"
    assert repr(depends()) == "Depends()"


async def test_a_mark_that_nobody_has_filled_in() -> None:
    """Who calls the function directly passes the argument."""

    @actorq.task
    async def work(db: Database = Depends(Database)) -> str:
        return db.url

    assert await work(Database("mine")) == "mine"
    with pytest.raises(
        AttributeError, match="If you call the function yourself, pass that argument"
    ):
        await work()


def test_a_wrong_supply() -> None:
    """The natural slips."""
    dependencies = Dependencies()
    broker: Any = InMemoryBroker()
    with pytest.raises(TypeError, match="expects the type that tasks ask for and the value"):
        broker.with_dependency("Database", 5)
    with pytest.raises(TypeError, match="each attempt has a Context of its own"):
        dependencies.supply(Context, 5)
    with pytest.raises(TypeError, match=r"an object of actorq\.State or of a subclass; got \{\}"):
        broker.state = {}
