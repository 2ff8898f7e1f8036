"""Promises 45 to 52 and 54: how a system ends, and what surfaces."""

from __future__ import annotations

import logging
import math
import threading
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

import actorq
from actorq.actor import Actor
from actorq.dead_letters import LetterReason
from actorq.errors import ActorFailed, ActorqError, ActorStopped, SystemFailed
from actorq.kernel import Kernel, open_kernel
from actorq.restart import Backoff, Restart, Strategy
from actorq.supervisor import ActorSpec, SupervisorSpec
from actorq.testing import Tape, crash, simulate
from strategies import QUICK, ask_any, crashing_kernel, tapes


class Broken(Exception):
    """What the actors here crash with."""


class Echo(Actor[Any]):
    async def receive(self, message: Any) -> Any:
        return message


def tasks_of_actorq() -> list[str]:
    """The tasks below the caller's, and the system tasks that are not Trio's own."""
    me = trio.lowlevel.current_task()
    return [child.name for nursery in me.child_nurseries for child in nursery.child_tasks]


def all_tasks() -> set[int]:
    """Every task of this run."""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    found: set[int] = set()
    waiting = [root]
    while waiting:
        task = waiting.pop()
        found.add(id(task))
        for nursery in task.child_nurseries:
            waiting.extend(nursery.child_tasks)
    return found


@given(
    tape=tapes,
    queued=st.integers(0, 6),
    blocked=st.integers(0, 2),
    drain=st.sampled_from([0.0, 2.5, 100.0]),
    work=st.sampled_from([0.0, 1.0]),
)
def test_45_a_closed_mailbox_refuses_sends_and_is_handled_until_the_drain_deadline(
    tape: Tape, queued: int, blocked: int, drain: float, work: float
) -> None:
    """45. From the close, sends raise; queued messages are handled until the drain deadline."""
    handled: list[int] = []
    refused: list[int] = []

    class Works(Actor[int]):
        async def receive(self, message: int) -> None:
            await trio.sleep(work)
            handled.append(message)

    async def program() -> None:
        async def late(n: int) -> None:
            with trio.CancelScope(shield=True):
                try:
                    await ref.tell(n)
                except ActorStopped:
                    refused.append(n)

        async with trio.open_nursery() as outside:
            async with crashing_kernel(shutdown_timeout=1000) as kernel:
                ref = await kernel.spawn(Works, capacity=queued, drain=drain)
                if queued:
                    for n in range(queued):
                        ref.tell_nowait(n)
                    for n in range(blocked):
                        outside.start_soon(late, 100 + n)
                    await trio.lowlevel.checkpoint()
                    await trio.lowlevel.checkpoint()
            for send in (ref.tell, ref.ask):
                with pytest.raises(ActorStopped):
                    await send(99)  # type: ignore[arg-type]
            with pytest.raises(ActorStopped):
                ref.tell_nowait(99)
        taken = trio.current_time()
        accepted = ref.statistics().accepted
        assert len(handled) + len(kernel.dead_letters) == accepted
        assert taken <= drain
        if drain == 100.0 or (work == 0 and drain):
            assert len(handled) == accepted
        elif work and drain:
            assert len(handled) == min(accepted, 2)
            assert {letter.reason for letter in kernel.dead_letters} <= {
                LetterReason.INTERRUPTED,
                LetterReason.UNDELIVERED,
            }
        assert len(refused) + sum(1 for _ in handled) + len(kernel.dead_letters) == (
            queued + (blocked if queued else 0)
        )

    simulate(program, tape=tape)


trees = st.recursive(
    st.sampled_from([0.0, 0.5]),  # a leaf: how long its on_stop takes
    lambda inner: st.lists(inner, min_size=1, max_size=3),
    max_leaves=8,
)


@given(tape=tapes, tree=st.lists(trees, min_size=1, max_size=3), strategy=st.sampled_from(Strategy))
def test_46_children_stop_in_reverse_start_order_one_after_the_other(
    tape: Tape, tree: list[Any], strategy: Strategy
) -> None:
    """46. Reverse start order; the next stop begins only after the previous child has exited."""
    log: list[tuple[str, str]] = []

    class Leaf(Actor[Any]):
        def __init__(self, name: str, slow: float) -> None:
            self.name = name
            self.slow = slow

        async def on_start(self) -> None:
            log.append(("start", self.name))
            self.start_soon(self.child)

        async def child(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                log.append(("child ends", self.name))

        async def drain(self) -> None:
            log.append(("drain", self.name))
            await trio.sleep(self.slow)

        async def on_stop(self) -> None:
            log.append(("stop", self.name))
            await trio.sleep(self.slow)
            log.append(("stopped", self.name))

    def spec(node: Any, name: str) -> ActorSpec | SupervisorSpec:
        if isinstance(node, list):
            children = [spec(child, f"{name}.{n}") for n, child in enumerate(node)]
            return SupervisorSpec(name, children=children, strategy=strategy)
        return ActorSpec(lambda: Leaf(name, node), name=name)

    subtrees = [
        SupervisorSpec(f"s{n}", children=[spec(each, f"s{n}.0")]) for n, each in enumerate(tree)
    ]

    async def program() -> None:
        async with open_kernel(subtrees=subtrees):
            log.append(("body", ""))

    simulate(program, tape=tape)
    middle = log.index(("body", ""))
    started = [name for _, name in log[:middle]]
    assert log[middle + 1 :] == [
        (what, name)
        for name in reversed(started)
        for what in ("drain", "child ends", "stop", "stopped")
    ]


@given(
    tape=tapes,
    end=st.sampled_from(["returns", "raises", "cancelled", "fatal", "other subtree fails"]),
    cleanup=st.sampled_from([0.0, 3.0]),
)
def test_47_the_body_unwinds_before_any_actor_is_cancelled(
    tape: Tape, end: str, cleanup: float
) -> None:
    """47. The body unwinds before any actor is cancelled; actors answer until then."""
    answers: list[Any] = []
    log: list[str] = []

    class Busy(Echo):
        async def on_start(self) -> None:
            self.start_soon(self.child)

        async def child(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                log.append("actor")

    doomed = SupervisorSpec(
        "doomed", children=[ActorSpec(Interrupted, name="victim")], intensity=0, backoff=QUICK
    )

    async def program() -> None:
        with trio.move_on_after(1 if end == "cancelled" else math.inf):
            async with open_kernel(subtrees=[doomed]) as kernel:
                ref = await kernel.spawn(Busy)
                victim = kernel._root.child_supervisor("doomed").ref("victim")
                try:
                    if end == "fatal":
                        await victim.tell(KeyboardInterrupt())
                    if end == "other subtree fails":
                        await victim.tell(Broken())
                    if end in ("cancelled", "fatal", "other subtree fails"):
                        await trio.sleep_forever()
                    if end == "raises":
                        raise ValueError
                finally:
                    with trio.CancelScope(shield=True):
                        await trio.sleep(cleanup)
                        answers.append(await ask_any(ref, "still there?"))
                        log.append("body")

    expected: dict[str, type[BaseException]] = {
        "raises": ValueError,
        "fatal": KeyboardInterrupt,
        "other subtree fails": SystemFailed,
    }
    if end in expected:
        with pytest.raises(expected[end]):
            simulate(program, tape=tape)
    else:
        simulate(program, tape=tape)
    assert answers == ["still there?"]
    assert log == ["body", "actor"]


class Interrupted(Actor[Any]):
    """Raises what it is sent."""

    async def receive(self, message: Any) -> Any:
        if isinstance(message, BaseException):
            raise message
        return message


@given(tape=tapes, dead=st.sampled_from(["in back-off", "given up", "gives up later"]))
def test_47_a_shielded_cleanup_that_asks_a_dead_actor_gets_an_error_not_silence(
    tape: Tape, dead: str
) -> None:
    """47. The system failed: the body's cleanup may ask, and is answered or told so; it ends."""
    told: list[str] = []

    def tree(name: str) -> SupervisorSpec:
        return SupervisorSpec(
            name,
            children=[ActorSpec(Interrupted, name="one"), ActorSpec(Echo, name="two")],
            intensity=0,
        )

    async def program() -> None:
        async with open_kernel(subtrees=[tree("x"), tree("y")], intensity=5) as kernel:
            other = kernel._root.child_supervisor("y")
            ref = kernel._root.child_supervisor("x").ref("one")
            slow = await kernel.spawn(Interrupted, name="slow")
            try:
                crash(ref)
                if dead == "in back-off":
                    crash(slow)
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    refs = [ref, slow]
                    if dead == "gives up later":
                        await other.ref("one").tell(Broken())
                        refs.append(other.ref("two"))
                        await trio.sleep(1)
                    for each in refs:
                        try:
                            told.append(await ask_any(each, "hello"))
                        except ActorqError as error:
                            told.append(type(error).__name__)

    with pytest.raises(SystemFailed):
        simulate(program, tape=tape)
    later = ["ActorStopped"] if dead == "gives up later" else []
    assert told == ["ActorStopped", "hello", *later]


@given(
    tape=tapes,
    when=st.sampled_from([0.0, 0.5, 1.0, 1.5, 4.0]),
    where=st.sampled_from(["body", "ask", "tell", "spawn", "start", "handler"]),
)
def test_48_cancelled_is_never_swallowed(tape: Tape, when: float, where: str) -> None:
    """48. A cancelled enclosing scope reports `cancelled_caught`, wherever it strikes."""

    class Slow(Actor[Any]):
        async def on_start(self) -> None:
            await trio.sleep(1)

        async def receive(self, message: Any) -> Any:
            await trio.sleep(50)

    inner: list[bool] = []

    class Cancels(Actor[Any]):
        async def receive(self, message: Any) -> Any:
            with trio.move_on_after(when + 0.1) as scope:
                await ask_any(message, "never answered")
            inner.append(scope.cancelled_caught)

    tree = SupervisorSpec("tree", children=[ActorSpec(Slow, name="slow")])

    async def program() -> None:
        after: list[bool] = []
        with trio.move_on_after(when) as scope:
            async with open_kernel(subtrees=[tree] if where == "start" else []) as kernel:
                if where == "body":
                    await trio.sleep(100)
                ref = await kernel.spawn(Slow, capacity=0, drain=0)
                if where == "ask":
                    await ask_any(ref, 1)
                if where == "tell":
                    await ref.tell(1)
                    await ref.tell(2)
                if where == "spawn":
                    for n in range(9):
                        await kernel.spawn(Slow, name=f"{n}")
                if where == "handler":
                    cancels = await kernel.spawn(Cancels)
                    await ask_any(cancels, ref)
                await trio.sleep(100)
            after.append(True)
        assert scope.cancelled_caught
        assert not after

    simulate(program, tape=tape)
    if where == "handler" and inner:
        assert inner == [True]


@given(tape=tapes, swallowed=st.booleans())
def test_48_a_spawn_that_was_cancelled_leaves_no_actor(tape: Tape, swallowed: bool) -> None:
    """48. ... and what was cancelled did not happen: there is no actor without a ref."""

    class Slow(Actor[Any]):
        async def on_start(self) -> None:
            await trio.sleep(1)

    async def program() -> None:
        async with open_kernel() as kernel:
            with trio.move_on_after(1) as scope:  # the instant in which on_start returns
                await kernel.spawn(Slow, name="x")
            await trio.testing.wait_all_tasks_blocked()
            names = [child.name for child in kernel._app.statistics().children]
            assert names == ([] if scope.cancelled_caught else ["x"])
            if scope.cancelled_caught:
                await kernel.spawn(Slow, name="x")  # the name is free

    simulate(program, tape=tape)


@given(
    tape=tapes,
    kind=st.sampled_from([KeyboardInterrupt, SystemExit]),
    where=st.sampled_from(
        ["handler", "on_start", "child", "signal", "on_stop", "drain", "restart", "nested", "body"]
    ),
    asked=st.booleans(),
)
def test_49_an_interrupt_in_an_actor_ends_the_system_and_surfaces(
    tape: Tape, kind: type[BaseException], where: str, asked: bool
) -> None:
    """49. Not a crash: no restart, the system ends, it surfaces from `open_system` as itself."""
    made: list[Actor[Any]] = []
    other: list[str] = []
    error = kind(7) if kind is SystemExit else kind()

    class Ends(Actor[Any]):
        def __init__(self) -> None:
            made.append(self)

        async def on_start(self) -> None:
            if where == "on_start" or (where == "restart" and len(made) == 2):
                raise error

        async def receive(self, message: Any) -> None:
            match where:
                case "handler":
                    raise error
                case "child":
                    self.start_soon(self.child)
                    await trio.sleep(1)
                case "restart":
                    raise Broken
                case "nested":
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self.child)
                        await trio.sleep(1)
                case "on_stop":
                    self.stop()
                case "signal":
                    self.set_timer("t", 0, "again")
                    other.append("set")

        async def child(self) -> None:
            raise error

        async def drain(self) -> None:
            if where == "drain":
                raise error

        async def on_stop(self) -> None:
            if where == "on_stop":
                raise error

    class Other(Echo):
        async def on_stop(self) -> None:
            other.append("stopped")

    async def program() -> None:
        async with crashing_kernel() as kernel:
            await kernel.spawn(Other)
            group = await kernel.spawn_supervisor("g", strategy=Strategy.ONE_FOR_ALL)
            ref = await group.spawn(Ends)
            mate = await group.spawn(Echo, name="mate")
            if where == "body":
                raise error
            if where == "signal":
                ref._cell.before = lambda _: None
                crash(ref, error)  # type: ignore[arg-type]  # raised in the place of a signal
            elif asked and where not in ("drain", "on_stop"):
                with pytest.raises((ActorFailed, ActorStopped)):
                    await ask_any(ref, 1)
            elif where != "drain":
                await ref.tell(1)
            if where != "drain":
                try:
                    await trio.sleep_forever()
                finally:
                    with trio.CancelScope(shield=True):
                        assert await ask_any(mate, "cleanup") == "cleanup"

    with pytest.raises(kind) as caught:
        simulate(program, tape=tape)
    assert caught.value.args == ((7,) if kind is SystemExit else ())
    if where != "body":
        assert isinstance(caught.value.__cause__, BaseExceptionGroup)
    assert len(made) == (2 if where == "restart" else 1)
    assert "stopped" in other


@given(tape=tapes, actors=st.integers(0, 2))
def test_50_the_bodys_own_exception_surfaces_naked(tape: Tape, actors: int) -> None:
    """50. The body's own exception surfaces naked when nothing else failed."""
    error = Broken("in the body")

    async def program() -> None:
        async with open_kernel() as kernel:
            for n in range(actors):
                await kernel.spawn(Echo, name=f"{n}")
            raise error

    with pytest.raises(Broken) as caught:
        simulate(program, tape=tape)
    assert caught.value is error
    assert caught.value.__cause__ is None


def test_50_a_group_that_the_body_raises_stays_as_it_is() -> None:
    """50. ... a group too: it is the body's own, and no layer is taken off or put on."""
    error = ExceptionGroup("mine", [Broken(), ExceptionGroup("inner", [ValueError()])])

    async def program() -> None:
        async with open_kernel():
            raise error

    with pytest.raises(ExceptionGroup) as caught:
        simulate(program)
    assert caught.value is error


@given(tape=tapes, cleanup_fails=st.booleans(), restart=st.sampled_from(Restart))
def test_50_an_actors_failure_surfaces_as_system_failed_from_a_group(
    tape: Tape, cleanup_fails: bool, restart: Restart
) -> None:
    """50. An actor failure surfaces as `SystemFailed` from a group, the body's in it."""
    fallout: list[BaseException] = []

    async def program() -> None:
        async with open_kernel(intensity=0) as kernel:
            ref = await kernel.spawn(Interrupted, restart=restart)
            await ref.tell(Broken("the cause"))
            try:
                await trio.sleep(10)
            except BaseException as error:
                fallout.append(error)
                if cleanup_fails:
                    raise ValueError("in the cleanup") from None
                raise
            raise LookupError("the system did not fail")

    expected = LookupError if restart is Restart.TEMPORARY else SystemFailed
    with pytest.raises(expected) as caught:
        simulate(program, tape=tape)
    if restart is not Restart.TEMPORARY:
        assert isinstance(fallout[0], trio.Cancelled)  # and not the noise of a failing ask
        assert "the cause" in str(caught.value)
        group = caught.value.__cause__
        assert isinstance(group, ExceptionGroup)
        assert isinstance(group.exceptions[0].__cause__, Broken)
        found = group.subgroup(ValueError)
        assert (found is not None) == cleanup_fails


class Alien(BaseException):
    """Neither an `Exception` nor one of Python's own: such as pytest's `Failed`."""


@given(tape=tapes, where=st.sampled_from(["handler", "child", "on_start"]))
def test_50_what_is_no_exception_at_all_is_not_lost_either(tape: Tape, where: str) -> None:
    """50. A `BaseException` that nobody knows tears the system down, and surfaces in a group."""

    class Raises(Actor[Any]):
        async def on_start(self) -> None:
            if where == "on_start":
                raise Alien
            if where == "child":
                self.start_soon(self.child)

        async def child(self) -> None:
            raise Alien

        async def receive(self, message: Any) -> None:
            raise Alien

    async def program() -> None:
        async with open_kernel() as kernel:
            ref = await kernel.spawn(Raises)
            await ref.tell(1)
            await trio.sleep_forever()

    with pytest.raises(BaseExceptionGroup) as caught:
        simulate(program, tape=tape)
    assert caught.value.subgroup(Alien) is not None
    assert caught.value.subgroup(trio.Cancelled) is None


@given(tape=tapes, shielded=st.booleans())
def test_51_entering_in_a_cancelled_scope_returns_promptly(tape: Tape, shielded: bool) -> None:
    """51. Entering `open_system` in a cancelled scope returns promptly and runs no handler."""
    ran: list[str] = []

    class Tells(Actor[Any]):
        def __init__(self) -> None:
            ran.append("made")

        async def on_start(self) -> None:
            ran.append("started")

    tree = SupervisorSpec("tree", children=[ActorSpec(Tells, name="tells")])

    async def program() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            async with open_kernel(subtrees=[tree]):
                ran.append("body")
        assert scope.cancelled_caught
        assert trio.current_time() == 0

    simulate(program, tape=tape)
    assert ran == []


class Stubborn(Actor[Any]):
    """Ignores a cancellation as long as it may: for *seconds* in a handler and in on_stop."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def on_start(self) -> None:
        self.start_soon(trio.sleep_forever)
        self.set_timer("t", 1, "tick", repeat=True)

    async def receive(self, message: Any) -> None:
        if isinstance(message, BaseException):
            raise message
        if message == "hang":
            await trio.sleep_forever()

    async def on_stop(self) -> None:
        await trio.sleep(self.seconds)


@given(
    tape=tapes,
    end=st.sampled_from(
        ["normal", "exception", "cancel", "crash loop", "interrupt", "interrupt in body", "start"]
    ),
    hang=st.booleans(),
    seconds=st.sampled_from([0.0, 2.0, 100.0]),
    grace=st.sampled_from([0.0, 3.0]),
    drain=st.sampled_from([0.0, 4.0, math.inf]),
    timeout=st.sampled_from([0.0, 6.0]),
    count=st.integers(1, 3),
)
def test_52_when_the_system_has_exited_no_task_of_it_lives(
    tape: Tape,
    end: str,
    hang: bool,
    seconds: float,
    grace: float,
    drain: float,
    timeout: float,
    count: int,
) -> None:
    """52. No task lives on, within `shutdown_timeout` + the longest grace, however it ended."""
    body_done = math.nan
    if end == "crash loop" and drain == math.inf:
        hang = False  # who asks to wait for ever for a handler that hangs has what he asked for

    class Fails(Actor[Any]):
        async def on_start(self) -> None:
            raise Broken

    async def body(kernel: Kernel) -> None:
        nonlocal body_done
        try:
            group = await kernel.spawn_supervisor(
                "g", strategy=Strategy.ONE_FOR_ALL, intensity=2, backoff=Backoff(base=0.1)
            )
            refs = [
                await group.spawn(lambda: Stubborn(seconds), name=f"{n}", drain=drain, grace=grace)
                for n in range(count)
            ]
            await kernel.spawn(Echo)
            if hang:
                for ref in refs[1:]:
                    await ref.tell("hang")
            match end:
                case "exception":
                    raise LookupError
                case "cancel":
                    await trio.sleep(100)
                case "crash loop":
                    for n in range(20):
                        crash(refs[0])
                        await trio.sleep(n)
                    await trio.sleep_forever()
                case "interrupt":
                    await refs[0].tell(KeyboardInterrupt())
                    await trio.sleep_forever()
                case "interrupt in body":
                    raise KeyboardInterrupt
        finally:
            body_done = trio.current_time()

    async def program() -> None:
        before = all_tasks()
        tree = (
            [SupervisorSpec("t", children=[ActorSpec(Fails, name="f")])] if end == "start" else []
        )
        with trio.move_on_after(2 if end == "cancel" else math.inf):
            try:
                async with open_kernel(
                    subtrees=tree, intensity=1, backoff=QUICK, shutdown_timeout=timeout
                ) as kernel:
                    await body(kernel)
                assert end in ("normal", "cancel")
            except (LookupError, SystemFailed, KeyboardInterrupt) as error:
                expected = {
                    "exception": LookupError,
                    "crash loop": SystemFailed,
                    "start": SystemFailed,
                    "interrupt": KeyboardInterrupt,
                    "interrupt in body": KeyboardInterrupt,
                }[end]
                assert type(error) is expected  # noqa: PT017 - an end of many
        assert all_tasks() == before
        assert tasks_of_actorq() == []
        if end != "start":
            assert trio.current_time() <= body_done + timeout + grace + 1e-6

    simulate(program, tape=tape)


def test_54_who_shields_itself_is_named_with_its_line(caplog: pytest.LogCaptureFixture) -> None:
    """54. A job that cannot be cancelled delays the shutdown; the log names it and its line."""

    @actorq.task(name="stubborn")
    async def stubborn() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(500)  # the line

    async def main() -> str:
        async with actorq.open_system(grace=1) as sys:
            handle = await sys.enqueue(stubborn)
            await trio.sleep(0.5)
        assert trio.current_time() >= 500
        return handle.task_id

    caplog.set_level("WARNING", logger="actorq")
    task_id = simulate(main)
    line = next(
        number
        for number, text in enumerate(Path(__file__).read_text().splitlines(), start=1)
        if text.endswith("# the line")
    )
    held_up = [each.getMessage() for each in caplog.records if "does not end" in each.getMessage()]
    assert len(held_up) == 1
    assert "'pool'" in held_up[0]
    assert f"task stubborn ({task_id}) at " in held_up[0]
    assert f"{Path(__file__).name}:{line})" in held_up[0]


def test_54_a_thread_that_holds_up_the_shutdown_is_named_with_its_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """54. The line of the thread, not the line that waits for it."""
    held, running = threading.Lock(), threading.Event()
    held.acquire()

    class Release(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "does not end" in record.getMessage():
                held.release()

    @actorq.task(name="deaf")
    def deaf() -> None:
        running.set()
        held.acquire(timeout=60)  # the line of the thread

    async def main() -> None:
        async with actorq.open_system(grace=0) as sys:
            await sys.enqueue(deaf)
            await trio.to_thread.run_sync(running.wait, 60)

    caplog.set_level("WARNING", logger="actorq")
    logger, release = logging.getLogger("actorq.supervisor"), Release()
    logger.addHandler(release)
    try:
        trio.run(main, clock=trio.testing.MockClock(rate=100))  # six seconds pass in no time
    finally:
        logger.removeHandler(release)
    (held_up,) = [
        each.getMessage() for each in caplog.records if "does not end" in each.getMessage()
    ]
    line = next(
        number
        for number, text in enumerate(Path(__file__).read_text().splitlines(), start=1)
        if text.endswith("# the line of the thread")
    )
    assert "task deaf (" in held_up
    assert f"{Path(__file__).name}:{line})" in held_up
