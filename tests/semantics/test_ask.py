"""Promises 9 to 17: an ask and its one answer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from actorq.actor import Actor
from actorq.errors import ActorFailed, ActorStopped, AskDeadlock, Reject
from actorq.kernel import open_kernel
from actorq.ref import ActorRef, Message
from actorq.reply import Reply
from actorq.restart import Backoff, Restart
from actorq.testing import Tape, crash, simulate
from strategies import SOON, ask_any, crashing_kernel, tapes


@attrs.frozen
class Question(Message[int]):
    """How to answer number *n*."""

    n: int
    how: str = "value"
    work: float | None = None


class Broken(Exception):
    """What the handlers here crash with."""


class Oracle(Actor[Question]):
    """Answers as it is told; what it was asked is in the list."""

    def __init__(self, log: list[int]) -> None:
        self.log = log

    async def receive(self, message: Question) -> int | None:
        self.log.append(message.n)
        reply: Reply[int] | None = None
        if message.how in ("defer", "forget"):
            reply = self.defer()
            if message.how == "defer":
                self.start_soon(self.answer, reply, message)
            return None
        if message.work is not None:
            await trio.sleep(message.work)
        match message.how:
            case "reject":
                raise Reject(message.n)
            case "crash":
                raise Broken(message.n)
            case "child crash":
                self.start_soon(self.fail, message)
                await trio.sleep(1)
            case "stop":
                self.stop()
        return message.n

    async def answer(self, reply: Reply[int], message: Question) -> None:
        await trio.sleep(message.work or 0)
        reply.send(message.n)
        assert not reply.send(-1)
        assert not reply.fail(Broken())

    async def fail(self, message: Question) -> None:
        raise Broken(message.n)


HOWS = ["value", "reject", "crash", "child crash", "defer", "forget", "stop"]

questions = st.builds(
    Question, st.just(0), st.sampled_from(HOWS), st.sampled_from([None, 0.0, 0.5])
)


@given(
    tape=tapes,
    plan=st.lists(questions, max_size=8),
    patience=st.lists(st.sampled_from([0.0, 0.3, 1.0, math.inf]), min_size=8, max_size=8),
    faults=st.lists(SOON, max_size=2),
    capacity=st.integers(0, 3),
    restart=st.sampled_from(Restart),
    body=st.sampled_from([0.5, 30.0]),
)
def test_09_an_ask_settles_exactly_once(
    tape: Tape,
    plan: list[Question],
    patience: list[float],
    faults: list[float],
    capacity: int,
    restart: Restart,
    body: float,
) -> None:
    """9. An ask settles exactly once, as one of the six ways; none is left, whatever happens."""
    log: list[int] = []
    ways: dict[int, list[str]] = {n: [] for n in range(len(plan))}

    async def ask(ref: ActorRef[Question], question: Question) -> None:
        mine = ways[question.n]
        with trio.CancelScope(shield=True, deadline=patience[question.n]) as scope:
            try:
                assert await ref.ask(question) == question.n
                mine.append("value")
            except Reject:
                assert question.how == "reject"
                mine.append("reject")
            except ActorFailed:
                mine.append("failed")
            except ActorStopped:
                mine.append("stopped")
        if scope.cancelled_caught:
            mine.append("cancelled")

    async def break_it(ref: ActorRef[Question], when: float) -> None:
        await trio.sleep(when)
        crash(ref)

    async def program() -> None:
        async with trio.open_nursery() as outside:
            async with crashing_kernel() as kernel:
                ref = await kernel.spawn(
                    lambda: Oracle(log), name="o", capacity=capacity, restart=restart
                )
                for n, question in enumerate(plan):
                    outside.start_soon(ask, ref, attrs.evolve(question, n=n))
                for when in faults:
                    outside.start_soon(break_it, ref, when)
                await trio.sleep(body)
            # the kernel has exited: every ask that is left is settled by now
            with trio.move_on_after(0.001):
                await trio.sleep(1)
            assert all(ways.values())

    simulate(program, tape=tape)
    assert all(len(mine) == 1 for mine in ways.values())


@given(tape=tapes, refusals=st.integers(1, 5))
def test_10_a_reject_reaches_the_asker_and_changes_nothing_else(tape: Tape, refusals: int) -> None:
    """10. `Reject` reaches the asker and changes neither the incarnation nor the restart count."""
    made: list[Actor[Any]] = []

    class Picky(Actor[Any]):
        def __init__(self) -> None:
            made.append(self)
            self.count = 0

        async def receive(self, message: object) -> int:
            if message == "count":
                return self.count
            self.count += 1
            if message == "deferred":
                self.defer()
            raise Reject("no", message)

    async def program() -> None:
        async with open_kernel() as kernel:
            ref = await kernel.spawn(Picky)
            for _ in range(refusals):
                for message in ("plain", "deferred"):
                    with pytest.raises(Reject) as caught:
                        await ask_any(ref, message)
                    assert caught.value.args == ("no", message)
                await ref.tell("told")
            assert await ask_any(ref, "count") == 3 * refusals
            assert ref.statistics().restarts == 0
            assert ref.statistics().handled == 3 * refusals + 1

    simulate(program, tape=tape)
    assert len(made) == 1


@given(tape=tapes, how=st.sampled_from(["crash", "child crash"]))
def test_11_a_crash_fails_the_ask_in_progress_at_once(tape: Tape, how: str) -> None:
    """11. A crash fails the ask in progress at once, cause attached; no clock is involved."""

    class Slow(Oracle):
        async def on_start(self) -> None:
            self.start_soon(self.stay)

        async def stay(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(60)  # the life takes a minute to end

        async def on_stop(self) -> None:
            await trio.sleep(4)

    async def program() -> None:
        async with open_kernel(backoff=Backoff(base=9)) as kernel:
            ref = await kernel.spawn(lambda: Slow([]), name="slow")
            with pytest.raises(ActorFailed) as caught:
                await ref.ask(Question(7, how))
            assert trio.current_time() == 0
            assert caught.value.handled
            cause = caught.value.__cause__
            assert isinstance(cause, Broken)
            assert cause.args == (7,)
            assert "slow" in str(caught.value)

    simulate(program, tape=tape)


@given(
    tape=tapes,
    before=st.integers(0, 3),
    after=st.integers(0, 3),
    base=st.sampled_from([0.0, 2.0]),
)
def test_12_queued_asks_survive_a_restart(tape: Tape, before: int, after: int, base: float) -> None:
    """12. Queued asks survive a restart and are answered by the next incarnation."""
    log: list[int] = []
    answered: list[int] = []
    lives: list[Oracle] = []

    def new() -> Oracle:
        lives.append(Oracle(log))
        return lives[-1]

    async def program() -> None:
        async def ask(n: int) -> None:
            answered.append(await ref.ask(Question(n)))

        async def ask_fatal() -> None:
            with pytest.raises(ActorFailed):
                await ref.ask(Question(-1, "crash", 1.0))

        async with open_kernel(backoff=Backoff(base=base)) as kernel:
            ref = await kernel.spawn(new, name="o", capacity=3)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask_fatal)
                await trio.testing.wait_all_tasks_blocked()
                for n in range(before):
                    nursery.start_soon(ask, n)
                await trio.sleep(1.5)
                for n in range(before, before + after):
                    nursery.start_soon(ask, n)
            await trio.sleep(5)
        assert len(lives) == 2

    simulate(program, tape=tape)
    assert sorted(answered) == list(range(before + after))
    assert sorted(log) == [-1, *range(before + after)]


@given(
    tape=tapes,
    parked=st.integers(1, 5),
    end=st.sampled_from(["crash", "child crash", "stop", "inject", "shutdown"]),
)
def test_13_deferred_replies_fail_with_their_incarnation(tape: Tape, parked: int, end: str) -> None:
    """13. Deferred replies of a dead incarnation fail with it; none stays parked."""
    outcomes: list[Exception] = []

    async def ask(ref: ActorRef[Question], n: int) -> None:
        with pytest.raises((ActorFailed, ActorStopped)) as caught:
            await ref.ask(Question(n, "forget"))
        outcomes.append(caught.value)
        assert trio.current_time() == 1

    async def program() -> None:
        async with trio.open_nursery() as nursery, open_kernel() as kernel:
            ref = await kernel.spawn(lambda: Oracle([]), name="o")
            for n in range(parked):
                nursery.start_soon(ask, ref, n)
            await trio.sleep(1)
            if end == "inject":
                crash(ref, Broken())
            elif end != "shutdown":
                await ref.tell(Question(-1, end))
            if end != "shutdown":
                await trio.sleep(10)
                assert len(outcomes) == parked

    simulate(program, tape=tape)
    if end == "shutdown":
        assert all(isinstance(error, ActorStopped) for error in outcomes)
    else:
        assert all(isinstance(error, ActorFailed) for error in outcomes)
        assert not any(getattr(error, "handled", None) for error in outcomes)


def test_13_a_message_that_was_deferred_and_then_crashed_was_in_progress() -> None:
    """13. ... and `handled` tells it from one that was only put aside."""

    class Defers(Actor[Any]):
        async def receive(self, message: object) -> None:
            self.defer()
            raise Broken

    async def program() -> None:
        async with open_kernel() as kernel:
            ref = await kernel.spawn(Defers)
            with pytest.raises(ActorFailed) as caught:
                await ref.ask(Question(0))
            assert caught.value.handled

    simulate(program)


@given(
    tape=tapes,
    patience=st.sampled_from([0.0, 0.5, 1.5]),
    how=st.sampled_from(["value", "reject", "defer"]),
    busy=st.booleans(),
)
def test_14_a_cancelled_ask_is_still_handled_once(
    tape: Tape, patience: float, how: str, busy: bool
) -> None:
    """14. If the asker is cancelled, an accepted message is handled once, its reply discarded."""
    log: list[int] = []

    async def program() -> None:
        async with open_kernel() as kernel:
            ref = await kernel.spawn(lambda: Oracle(log), name="o")
            if busy:
                await ref.tell(Question(0, work=1.0))
            with trio.move_on_after(patience) as scope:
                async with trio.open_nursery() as nursery:
                    await trio.lowlevel.cancel_shielded_checkpoint()
                    nursery.start_soon(ref.ask, Question(1, how, 2.0))
                    if patience:
                        await trio.testing.wait_all_tasks_blocked()
            assert scope.cancelled_caught
            await ref.ask(Question(2))
            await trio.sleep(5)
            assert ref.statistics().restarts == 0

    simulate(program, tape=tape)
    if patience:
        assert log == ([0] if busy else []) + [1, 2]
    else:  # cancelled before it was sent
        assert 1 not in log


@given(tape=tapes, queued=st.integers(0, 3), capacity=st.integers(0, 3))
def test_15_asking_a_dead_actor_raises_and_does_not_park(
    tape: Tape, queued: int, capacity: int
) -> None:
    """15. Asking a dead actor raises `ActorStopped` and does not park; so do those in its queue."""

    async def program() -> None:
        async def ask(n: int) -> None:
            with pytest.raises(ActorStopped):
                await ref.ask(Question(n))
            assert trio.current_time() == 1

        async with open_kernel() as kernel:
            ref = await kernel.spawn(
                lambda: Oracle([]), name="o", restart=Restart.TEMPORARY, capacity=capacity
            )
            async with trio.open_nursery() as nursery:
                await ref.tell(Question(0, "crash", 1.0))
                await trio.testing.wait_all_tasks_blocked()
                for n in range(queued):
                    nursery.start_soon(ask, n)
            assert await ref.stopped() == "crashed: Broken(0)"
            assert not ref.is_alive
            for send in (ref.ask, ref.tell):
                with pytest.raises(ActorStopped, match="'o' has stopped"):
                    await send(Question(9))
            with pytest.raises(ActorStopped):
                ref.tell_nowait(Question(9))
            assert ref.statistics().queued == 0

    simulate(program, tape=tape)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), GeneratorExit()])
def test_16_a_reply_refuses_what_is_not_an_exception(error: BaseException) -> None:
    """16. A reply carries only values and `Exception`s."""
    with pytest.raises(TypeError, match=type(error).__name__):
        Reply[int]().fail(error)  # type: ignore[arg-type]


@given(tape=tapes, what=st.sampled_from(["cancelled", "interrupt", "exit"]))
def test_16_an_asker_never_gets_a_foreign_cancellation_or_interrupt(tape: Tape, what: str) -> None:
    """16. ... never `Cancelled`, `KeyboardInterrupt`, `SystemExit` of the actor's own."""
    got: list[BaseException] = []

    class Dies(Actor[Any]):
        async def receive(self, message: object) -> None:
            await trio.sleep(1)
            if what == "interrupt":
                raise KeyboardInterrupt
            if what == "exit":
                raise SystemExit(3)
            await trio.sleep_forever()

    async def ask(ref: ActorRef[Any]) -> None:
        try:
            await ref.ask(Question(0))
        except BaseException as error:
            got.append(error)

    async def program() -> None:
        async with trio.open_nursery() as outside:
            try:
                async with open_kernel() as kernel:
                    ref = await kernel.spawn(Dies, drain=0)
                    outside.start_soon(ask, ref)
                    await trio.sleep(2)
            except KeyboardInterrupt:
                assert what == "interrupt"
            except SystemExit:
                assert what == "exit"

    simulate(program, tape=tape)
    assert [type(error) for error in got] in ([ActorFailed], [ActorStopped])


# --- 17: circles --------------------------------------------------------------------------------


@attrs.frozen
class Go(Message[str]):
    """Send the rest of *path* on to the first name in it."""

    path: tuple[str, ...]
    how: str = "ask"


class Node(Actor[Go]):
    def __init__(self, refs: dict[str, ActorRef[Go]]) -> None:
        self.refs = refs

    async def receive(self, message: Go) -> str | None:
        if not message.path:
            return "end"
        target = self.refs[message.path[0]]
        onward = Go(message.path[1:], message.how)
        match message.how:
            case "ask":
                return await target.ask(onward)
            case "child":
                reply = self.defer()
                self.start_soon(self.pass_on, reply, target, onward)
            case "defer then ask":  # whoever asked is free; this loop is not
                self.defer().send("early")
                await target.ask(onward)
        return None

    async def pass_on(self, reply: Reply[str], target: ActorRef[Go], onward: Go) -> None:
        reply.send(await target.ask(onward))


names = st.sampled_from("abcd")
paths = st.lists(names, min_size=1, max_size=6).map(tuple)


async def _nodes(kernel: Any, capacity: float = 10) -> dict[str, ActorRef[Go]]:
    refs: dict[str, ActorRef[Go]] = {}
    for name in "abcd":
        refs[name] = await kernel.spawn(lambda: Node(refs), name=name, capacity=capacity)
    return refs


@given(tape=tapes, path=paths, capacity=st.sampled_from([0, 10]))
def test_17_closing_a_circle_of_asks_raises_in_the_asker_that_closes_it(
    tape: Tape, path: tuple[str, ...], capacity: int
) -> None:
    """17. Closing a cycle of asks raises `AskDeadlock` naming the cycle."""

    async def program() -> None:
        async with crashing_kernel() as kernel:
            refs = await _nodes(kernel, capacity)
            seen: list[str] = []
            closing: tuple[str, ...] | None = None
            for name in path:
                if name in seen:
                    # the one that closes it first, then those that it would wait for
                    closing = (seen[-1], *seen[seen.index(name) :])
                    break
                seen.append(name)
            if closing is None:
                assert await refs[path[0]].ask(Go(path[1:])) == "end"
                return
            with pytest.raises(ActorFailed) as caught:
                await refs[path[0]].ask(Go(path[1:]))
            error: BaseException | None = caught.value
            depth = 0
            while isinstance(error, ActorFailed):
                error = error.__cause__
                depth += 1
            assert isinstance(error, AskDeadlock)
            assert error.cycle == closing
            assert " -> ".join(closing) in str(error)
            assert depth == len(seen)  # it was raised in the last of them

    simulate(program, tape=tape)


@given(
    tape=tapes,
    circle=st.lists(names, min_size=1, max_size=4, unique=True),
    capacity=st.sampled_from([0, 1, 10]),
)
def test_17_a_circle_that_closes_from_all_sides_at_once_is_broken(
    tape: Tape, circle: list[str], capacity: int
) -> None:
    """17. Whoever is last to ask gets the error; nobody waits for ever."""

    class Sleepy(Node):
        async def receive(self, message: Go) -> str | None:
            await trio.sleep(0 if message.path else 1)
            return await super().receive(message)

    async def program() -> None:
        refs: dict[str, ActorRef[Go]] = {}
        failed: list[str] = []

        async def start(name: str, following: str) -> None:
            try:
                await refs[name].ask(Go((following,)))
            except ActorFailed:
                failed.append(name)

        async with crashing_kernel() as kernel:
            for name in circle:
                refs[name] = await kernel.spawn(lambda: Sleepy(refs), name=name, capacity=capacity)
            async with trio.open_nursery() as nursery:
                for name, following in zip(circle, circle[1:] + circle[:1], strict=True):
                    nursery.start_soon(start, name, following)
        assert failed

    simulate(program, tape=tape)


@given(tape=tapes, path=paths, how=st.sampled_from(["child", "defer then ask"]))
def test_17_asks_from_child_tasks_and_deferred_replies_are_in_no_circle(
    tape: Tape, path: tuple[str, ...], how: str
) -> None:
    """17. Asks from child tasks and deferred replies never trigger it."""

    async def program() -> None:
        async with open_kernel() as kernel:
            refs = await _nodes(kernel)
            if how == "child":
                assert await refs[path[0]].ask(Go(path[1:], how)) == "end"
            else:
                # a loop that waits for an early answer waits for nothing: only straight repetition
                # of a name that is still handling its message can be a circle, and is left out
                straight = tuple(dict.fromkeys(path))
                await refs[straight[0]].ask(Go(straight[1:], how))
            await trio.sleep(1)
            assert all(ref.statistics().restarts == 0 for ref in refs.values())

    simulate(program, tape=tape)


numbers = itertools.count()


class Pal(Actor[Any]):
    """Tells, asks and answers its friend.  The set holds what it has asked and nobody has begun."""

    def __init__(self, friend: Callable[[], ActorRef[Any]], pending: set[int]) -> None:
        self.friend = friend
        self.pending = pending

    async def receive(self, message: Any) -> object:
        match message:
            case ("asked", number, inner):
                self.pending.discard(number)
                return await self.receive(inner)
            case ("ask", onward):
                return await ask_any(self.friend(), onward)
            case ("tell", onward):
                await self.friend().tell(onward)
                await trio.lowlevel.checkpoint()
            case ("patient", onward):
                number = next(numbers)
                with trio.move_on_after(1):
                    self.pending.add(number)
                    await ask_any(self.friend(), ("asked", number, onward))
                self.pending.discard(number)
            case "forget":
                self.defer()
            case "slow":
                await trio.sleep(2)
        return message


@given(
    tape=tapes,
    script=st.lists(
        st.sampled_from(
            [
                "value",
                "forget",
                "slow",
                ("tell", "value"),
                ("tell", "slow"),
                ("patient", "forget"),
                ("patient", "slow"),
                ("patient", "value"),
            ]
        ),
        max_size=10,
    ),
    back=st.lists(st.sampled_from(["value", ("ask", "value")]), max_size=6),
    capacity=st.integers(0, 2),
)
def test_17_a_wait_that_is_over_is_in_no_circle(
    tape: Tape, script: list[Any], back: list[Any], capacity: int
) -> None:
    """17. No false alarm: an asker that was answered, cancelled or let in waits no more.

    Pal *a* waits for pal *b* now and then, and *b* asks *a* back: if that is refused, *a* is parked
    in its wait for *b*, or has an ask in *b*'s mailbox and will be.
    """
    errors: list[AskDeadlock] = []
    pending: set[int] = set()
    really: list[bool] = []

    async def program() -> None:
        refs: dict[str, ActorRef[Any]] = {}

        class B(Pal):
            async def receive(self, message: Any) -> object:
                try:
                    return await super().receive(message)
                except AskDeadlock as error:
                    task = refs["a"]._cell.loop_task
                    assert task is not None
                    errors.append(error)
                    really.append(_is_parked(task) or bool(pending))
                    return "refused"

        async with crashing_kernel(shutdown_timeout=100) as kernel:
            refs["b"] = await kernel.spawn(
                lambda: B(lambda: refs["a"], pending), name="b", capacity=capacity
            )
            refs["a"] = await kernel.spawn(
                lambda: Pal(lambda: refs["b"], pending), name="a", capacity=10
            )
            async with trio.open_nursery() as nursery:
                for message in script:
                    nursery.start_soon(refs["a"].tell, message)
                for message in back:
                    nursery.start_soon(refs["b"].tell, message)
            await trio.sleep(100)

    simulate(program, tape=tape)
    assert all(really), errors


def _is_parked(task: trio.lowlevel.Task) -> bool:
    return task._next_send_fn is None


def test_17_asking_or_filling_oneself_is_a_circle_of_one() -> None:
    """17. The shortest circle: an actor that asks itself, or waits for room in its own mailbox."""

    class Selfish(Actor[Any]):
        async def receive(self, message: Any) -> None:
            if message == "ask":
                await self.ref.ask(Question(0))
            await self.ref.tell("no room")

    async def program() -> None:
        async with crashing_kernel() as kernel:
            for message in ("ask", "tell"):
                ref = await kernel.spawn(Selfish, name=message, capacity=0)
                with pytest.raises(ActorFailed) as caught:
                    await ask_any(ref, message)
                assert isinstance(caught.value.__cause__, AskDeadlock)
                assert caught.value.__cause__.cycle == (message, message)

    simulate(program)


def test_17_an_actor_may_ask_back_as_soon_as_it_has_answered() -> None:
    """17. The example behind the rule: b answers a, and asks a in its next message."""

    class A(Actor[Any]):
        b: ActorRef[Any]

        async def receive(self, message: Any) -> object:
            return await self.b.ask(message) if message == "forward" else message

    class B(Actor[Any]):
        a: ActorRef[Any]

        async def receive(self, message: Any) -> object:
            if message == "sleep":
                await trio.sleep(1)
            return await self.a.ask(message) if message == "ask back" else message

    async def program() -> None:
        async with open_kernel() as kernel:
            a, b = await kernel.spawn(A), await kernel.spawn(B)
            A.b, B.a = b, a
            await b.tell("sleep")
            await a.tell("forward")
            await trio.testing.wait_all_tasks_blocked()
            # b answers a and handles this one without a step between
            assert await ask_any(b, "ask back") == "ask back"

    simulate(program)


class Left(Actor[Any]):
    """Waits for its peer in one of three ways, each of which is over when the peer asks back."""

    peer: ActorRef[Any]

    async def receive(self, message: Any) -> Any:
        match message:
            case "ask":
                return await ask_any(self.peer, "defer")
            case "impatient":
                with trio.move_on_after(1):
                    await ask_any(self.peer, "slow, then ask back")
            case "tell":
                await self.peer.tell("ask back")
        return message


class Right(Actor[Any]):
    peer: ActorRef[Any]

    async def receive(self, message: Any) -> Any:
        if message == "defer":
            self.start_soon(self.answer, self.defer())
        if message in ("busy", "slow, then ask back"):
            await trio.sleep(1)
        if message in ("ask back", "slow, then ask back"):
            return await ask_any(self.peer, "hello")
        return message

    async def answer(self, reply: Reply[str]) -> None:
        await trio.sleep(1)
        reply.send("late")


@given(tape=tapes, how=st.sampled_from(["ask", "impatient", "tell"]))
def test_17_a_wait_that_was_deferred_cancelled_or_let_in_is_over_at_once(
    tape: Tape, how: str
) -> None:
    """17. ... in the very step: its task need not have run since."""

    async def program() -> None:
        async with open_kernel() as kernel:
            right = await kernel.spawn(Right, capacity=0 if how == "tell" else 9)
            left = await kernel.spawn(Left)
            Left.peer, Right.peer = right, left
            if how == "tell":
                await right.tell("busy")
                await trio.testing.wait_all_tasks_blocked()
            await left.tell(how)
            await trio.testing.wait_all_tasks_blocked()
            if how == "ask":
                assert await ask_any(right, "ask back") == "hello"
            await trio.sleep(5)
            assert left.statistics().restarts == right.statistics().restarts == 0

    simulate(program, tape=tape)
