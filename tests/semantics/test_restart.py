"""Promises 18 to 27: restarts, their sets, their limits and their delays; timers and watches."""

from __future__ import annotations

import itertools
import random
from typing import Any

import attrs
import pytest
import trio
import trio.lowlevel
import trio.testing
from hypothesis import assume, example, given
from hypothesis import strategies as st

from actorq.actor import Actor
from actorq.environment import current_environment
from actorq.errors import ActorFailed, ActorStopped, SupervisorFailed, SystemFailed
from actorq.kernel import open_kernel
from actorq.ref import ActorRef
from actorq.restart import Backoff, Restart, Strategy
from actorq.signals import Signal, Terminated
from actorq.statistics import SupervisorStatistics
from actorq.supervisor import ActorSpec, SupervisorSpec
from actorq.testing import Tape, crash, crash_at, simulate
from strategies import QUICK, ask_any, crashing_kernel, tapes


class Broken(Exception):
    """What the actors here crash with."""


class Tracer(Actor[Any]):
    """Writes its starts and stops, with the time, and obeys."""

    def __init__(self, name: str, log: list[tuple[str, str]], slow_stop: float = 0) -> None:
        self.name = name
        self.log = log
        self.slow_stop = slow_stop
        self.seen: list[Any] = []

    async def on_start(self) -> None:
        self.log.append(("starts", self.name))
        await trio.lowlevel.checkpoint()
        self.log.append(("started", self.name))

    async def on_stop(self) -> None:
        self.log.append(("stops", self.name))
        await trio.sleep(self.slow_stop)
        self.log.append(("stopped", self.name))

    async def receive(self, message: Any) -> Any:
        self.seen.append(message)
        match message:
            case "crash":
                raise Broken(self.name)
            case "stop":
                self.stop()
            case "seen":
                return list(self.seen)
        return self.name


@given(tape=tapes, crashes=st.integers(1, 4), queued=st.integers(0, 3))
def test_18_a_restart_keeps_ref_mailbox_and_watchers(tape: Tape, crashes: int, queued: int) -> None:
    """18. A restart keeps ref, mailbox and watchers; the actor's transient state is new."""
    heard: list[Signal] = []

    class Hears(Actor[Any]):
        def __init__(self, target: ActorRef[Any]) -> None:
            self.target = target

        async def on_start(self) -> None:
            self.watch(self.target)

        async def signal(self, signal: Signal) -> None:
            heard.append(signal)

    async def program() -> None:
        async with crashing_kernel(backoff=Backoff(base=1)) as kernel:
            ref = await kernel.spawn(lambda: Tracer("t", []), restart=Restart.TRANSIENT)
            await kernel.spawn(lambda: Hears(ref), name="hears")
            for _ in range(crashes):
                await ref.tell("crash")
                for n in range(queued):
                    await ref.tell(n)
                assert await ask_any(ref, "seen") == [*range(queued), "seen"]
            assert ref.statistics().restarts == crashes
            assert heard == []
            await ref.tell("stop")
            assert await ref.stopped() == "normal"
            await trio.sleep(1)
            assert heard == [Terminated(ref, "normal")]

    simulate(program, tape=tape)


@given(tape=tapes, k=st.integers(1, 4), n=st.integers(0, 5), injected=st.booleans())
def test_19_the_message_that_crashed_the_actor_is_not_delivered_again(
    tape: Tape, k: int, n: int, injected: bool
) -> None:
    """19. The message that crashed the actor is not delivered again; those behind it are."""
    seen: list[int] = []

    class Sees(Actor[int]):
        async def receive(self, message: int) -> None:
            seen.append(message)
            if message == k and not injected:
                raise Broken

    async def program() -> None:
        async with crashing_kernel() as kernel:
            ref = await kernel.spawn(Sees)
            if injected:
                crash_at(ref, k)
            for number in range(1, n + 1):
                await ref.tell(number)
            await trio.sleep(1)

    simulate(program, tape=tape)
    assert seen == [number for number in range(1, n + 1) if number != k or not injected]


@given(
    tape=tapes,
    restart=st.sampled_from(Restart),
    end=st.sampled_from(["crash", "stop", "collateral"]),
)
def test_20_the_restart_policy_decides_by_how_the_actor_ended(
    tape: Tape, restart: Restart, end: str
) -> None:
    """20. permanent always; transient after a crash; temporary never, not even as collateral."""

    async def program() -> None:
        async with crashing_kernel() as kernel:
            group = await kernel.spawn_supervisor(
                "group", strategy=Strategy.ONE_FOR_ALL, intensity=9, backoff=QUICK
            )
            other = await group.spawn(lambda: Tracer("o", []), name="o")
            ref = await group.spawn(lambda: Tracer("t", []), name="t", restart=restart)
            if end == "collateral":
                await other.tell("crash")
            else:
                await ref.tell(end)
            await trio.sleep(1)
            lives_on = {
                Restart.PERMANENT: True,
                Restart.TRANSIENT: end != "stop",
                Restart.TEMPORARY: False,
            }[restart]
            assert ref.is_alive == lives_on
            if lives_on:
                assert await ask_any(ref, "name") == "t"
                assert ref.statistics().restarts == 1
            else:
                with pytest.raises(ActorStopped):
                    await ask_any(ref, "name")

    simulate(program, tape=tape)


@given(
    tape=tapes,
    strategy=st.sampled_from(Strategy),
    count=st.integers(1, 5),
    crashers=st.lists(st.integers(0, 4), min_size=1, max_size=3),
    slow=st.lists(st.sampled_from([0.0, 0.5]), min_size=5, max_size=5),
    delay=st.sampled_from([0.0, 0.2]),
)
def test_21_a_restart_touches_exactly_its_set_in_order(
    tape: Tape,
    strategy: Strategy,
    count: int,
    crashers: list[int],
    slow: list[float],
    delay: float,
) -> None:
    """21. Each strategy touches exactly its set; stopped in reverse, then started, in order."""
    assume(all(c < count for c in crashers))
    log: list[tuple[str, str]] = []
    names = "abcde"[:count]

    async def program() -> None:
        async with crashing_kernel() as kernel:
            group = await kernel.spawn_supervisor(
                "group", strategy=strategy, intensity=99, backoff=Backoff(base=delay, jitter=0)
            )
            refs = {
                name: await group.spawn(
                    lambda name=name, pause=pause: Tracer(name, log, pause),  # type: ignore[misc]
                    name=name,
                )
                for name, pause in zip(names, slow, strict=False)
            }
            for crasher in crashers:
                log.clear()
                await refs[names[crasher]].tell("crash")
                await trio.sleep(100)
                touched = {
                    Strategy.ONE_FOR_ONE: names[crasher],
                    Strategy.ONE_FOR_ALL: names,
                    Strategy.REST_FOR_ONE: names[crasher:],
                }[strategy]
                stops = [names[crasher], *reversed(touched.replace(names[crasher], ""))]
                assert log == [
                    *((what, name) for name in stops for what in ("stops", "stopped")),
                    *((what, name) for name in touched for what in ("starts", "started")),
                ]

    simulate(program, tape=tape)


@given(
    tape=tapes,
    strategy=st.sampled_from(Strategy),
    crashers=st.sets(st.integers(0, 3), min_size=2),
    failing=st.sampled_from([None, 0, 1, 2, 3]),
    dies=st.sampled_from([None, 0.0, 0.1, 0.2, 0.3]),
)
def test_21_restarts_that_overlap_leave_everybody_running_once(
    tape: Tape,
    strategy: Strategy,
    crashers: set[int],
    failing: int | None,
    dies: float | None,
) -> None:
    """21. Crashes in the same instant, and starts that fail on the way, end with one life each."""
    alive: dict[str, int] = dict.fromkeys("abcd", 0)
    starts: dict[str, int] = dict.fromkeys("abcd", 0)

    class Counts(Actor[Any]):
        def __init__(self, name: str) -> None:
            self.name = name

        async def on_start(self) -> None:
            starts[self.name] += 1
            await trio.sleep(0.1)
            if failing is not None and self.name == "abcd"[failing] and starts[self.name] == 2:
                raise Broken
            alive[self.name] += 1
            assert alive[self.name] == 1
            if dies is not None and self.name == "abcd"[min(crashers)] and starts[self.name] == 2:
                self.start_soon(self.die, dies)

        async def die(self, after: float) -> None:
            await trio.sleep(after)
            raise Broken

        async def on_stop(self) -> None:
            alive[self.name] -= 1

    async def program() -> None:
        async with crashing_kernel() as kernel:
            group = await kernel.spawn_supervisor(
                "group", strategy=strategy, intensity=99, backoff=QUICK
            )
            refs = [
                await group.spawn(lambda name=name: Counts(name), name=name)  # type: ignore[misc]
                for name in "abcd"
            ]
            for n in crashers:
                crash(refs[n])
            await trio.sleep(10)
            assert alive == dict.fromkeys("abcd", 1)
            assert all(ref.statistics().state == "running" for ref in refs)
            if dies is not None:
                return
            if strategy is Strategy.ONE_FOR_ONE:
                extra = {n: 1 + (n == failing) for n in crashers}
                assert starts == {name: 1 + extra.get(n, 0) for n, name in enumerate("abcd")}
            if strategy is Strategy.REST_FOR_ONE:
                # none before the first that crashed is touched; starts that went well stay
                first = min(crashers)
                assert all(starts[name] == 1 for name in "abcd"[:first])
                if failing is None:
                    assert all(starts[name] in (2, 3) for name in "abcd"[first:])
                elif failing >= first and len(crashers) == 4 - first:
                    assert all(starts[name] >= 2 for name in "abcd"[first:])

    simulate(program, tape=tape)
    assert alive == dict.fromkeys("abcd", 0)


def test_21_a_start_that_fails_touches_nobody_before_it() -> None:
    """21. rest_for_one: b crashed; c fails to start again; b, up by then, is left alone."""
    log: list[tuple[str, str]] = []
    fails = iter([False, True, False])

    class Fails(Tracer):
        async def on_start(self) -> None:
            if next(fails):
                raise Broken
            await super().on_start()

    async def program() -> None:
        async with crashing_kernel() as kernel:
            group = await kernel.spawn_supervisor("group", strategy=Strategy.REST_FOR_ONE)
            await group.spawn(lambda: Tracer("a", log), name="a")
            b = await group.spawn(lambda: Tracer("b", log), name="b")
            await group.spawn(lambda: Fails("c", log), name="c")
            await group.spawn(lambda: Tracer("d", log), name="d")
            log.clear()
            await b.tell("crash")
            await trio.sleep(10)
            assert [name for what, name in log if what == "starts"] == ["b", "c", "d"]
            assert [name for what, name in log if what == "stops"] == ["b", "d", "c"]

    simulate(program)


@given(
    tape=tapes,
    intensity=st.integers(0, 4),
    period=st.sampled_from([1.0, 5.0]),
    gaps=st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.5, 5.0, 6.0]), min_size=1, max_size=8),
)
@example(tape=Tape(), intensity=1, period=5.0, gaps=[0.0, 5.0])  # the boundary counts
@example(tape=Tape(), intensity=1, period=5.0, gaps=[0.0, 6.0])
def test_22_more_incidents_than_the_intensity_end_the_supervisor(
    tape: Tape, intensity: int, period: float, gaps: list[float]
) -> None:
    """22. More than `intensity` incidents inside `period`, boundary included, end it."""
    times: list[float] = list(itertools.accumulate(gaps))
    # the model: the first crash at which too many lie in the window, its edge included
    fatal = next(
        (
            now
            for n, now in enumerate(times)
            if sum(1 for then in times[: n + 1] if then >= now - period) > intensity
        ),
        None,
    )

    async def program() -> None:
        async with open_kernel(intensity=intensity, period=period, backoff=QUICK) as kernel:
            ref = await kernel.spawn(lambda: Tracer("t", []), name="t")
            for now in times:
                await trio.sleep_until(now)
                crash(ref, Broken(now))
                await trio.testing.wait_all_tasks_blocked()

    if fatal is None:
        simulate(program, tape=tape)
        return
    with pytest.raises(SystemFailed) as caught:
        simulate(program, tape=tape)
    group = caught.value.__cause__
    assert isinstance(group, ExceptionGroup)
    (error,) = group.exceptions
    assert isinstance(error, SupervisorFailed)
    assert isinstance(error.__cause__, Broken)
    assert error.__cause__.args == (fatal,)


@given(tape=tapes, strategy=st.sampled_from(Strategy), count=st.integers(1, 4))
def test_22_giving_up_stops_children_in_reverse_and_goes_to_the_parent(
    tape: Tape, strategy: Strategy, count: int
) -> None:
    """22. ... children stopped in reverse, the failure raised to the parent; a group is one."""
    log: list[tuple[str, str]] = []
    names = "abcd"[:count]

    async def program() -> None:
        async with open_kernel(intensity=1, backoff=QUICK) as kernel:
            group = await kernel.spawn_supervisor(
                "group", strategy=strategy, intensity=1, backoff=QUICK
            )
            refs = [
                await group.spawn(
                    lambda name=name: Tracer(name, log, 0.1),  # type: ignore[misc]
                    name=name,
                )
                for name in names
            ]

            def incidents(name: str) -> int:
                found = kernel.statistics().find(name)
                assert isinstance(found, SupervisorStatistics)
                return found.recent_incidents

            crash(refs[0])
            await trio.sleep(2)
            assert incidents("group") == 1
            assert incidents("app") == 0
            log.clear()
            crash(refs[0])
            await trio.sleep(5)
            stops = [name for what, name in log if what == "stops"]
            assert stops == [names[0], *reversed(names[1:])]
            # the parent restarted the whole group, with a clean record and the same refs
            assert [name for what, name in log if what == "starts"] == list(names)
            assert (incidents("group"), incidents("app")) == (0, 1)
            assert await ask_any(refs[-1], "name") == names[-1]

    simulate(program, tape=tape)


@given(tape=tapes, strategy=st.sampled_from([Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE]))
def test_22_a_group_that_crashes_together_is_one_incident(tape: Tape, strategy: Strategy) -> None:
    """22. A group restart is one incident, also if its members crash while they are stopped."""

    async def program() -> None:
        async with open_kernel() as kernel:
            group = await kernel.spawn_supervisor(
                "group", strategy=strategy, intensity=1, backoff=Backoff(base=1)
            )
            refs = [
                await group.spawn(
                    lambda name=name: Tracer(name, [], 0 if name == "b" else 0.5),  # type: ignore[misc]
                    name=name,
                )
                for name in "abc"
            ]
            await refs[0].tell("crash")
            await trio.sleep(0.75)  # a is down, c is being stopped, b waits its turn
            await refs[1].tell("crash")
            await trio.sleep(10)
            assert group.statistics().incidents == 1
            assert [ref.statistics().restarts for ref in refs] == [1, 1, 1]

    simulate(program, tape=tape)


@given(tape=tapes, failures=st.integers(1, 5), base=st.sampled_from([0.5, 2.0]))
def test_23_a_restart_whose_on_start_fails_is_one_more_incident(
    tape: Tape, failures: int, base: float
) -> None:
    """23. `on_start` failing during a restart is one more incident, retried after back-off."""
    starts: list[float] = []

    class Fails(Actor[Any]):
        async def on_start(self) -> None:
            starts.append(trio.current_time())
            if 1 < len(starts) <= 1 + failures:
                raise Broken

        async def receive(self, message: Any) -> Any:
            return message

    async def program() -> None:
        backoff = Backoff(base=base, jitter=0, max=1000)
        async with open_kernel(intensity=99, period=9999, backoff=backoff) as kernel:
            ref = await kernel.spawn(Fails)
            crash(ref)
            assert await ask_any(ref, "queued meanwhile") == "queued meanwhile"
            app = kernel.statistics().find("app")
            assert isinstance(app, SupervisorStatistics)
            assert app.incidents == 1 + failures

    simulate(program, tape=tape)
    assert starts == [0.0, *itertools.accumulate(base * 2**n for n in range(failures + 1))]


@given(tape=tapes, when=st.sampled_from([0.5, 1.0, 1.05, 3.0]))
def test_23_the_supervisor_obeys_stop_while_it_retries(tape: Tape, when: float) -> None:
    """23. ... the supervisor still obeys stop meanwhile: at once, in a delay and in an on_start."""
    first = iter([True])

    class Fails(Actor[Any]):
        async def on_start(self) -> None:
            if not next(first, False):
                await trio.sleep(0.1)
                raise Broken

    async def program() -> float:
        async with open_kernel(backoff=Backoff(base=1, jitter=0)) as kernel:
            ref = await kernel.spawn(Fails)
            crash(ref)
            await trio.sleep(when)
        return trio.current_time()

    assert simulate(program, tape=tape) == pytest.approx(when)


@given(tape=tapes)
def test_23_nothing_starts_once_the_supervisor_stops(tape: Tape) -> None:
    """23. ... a restart that is due while siblings are being stopped does not take place."""
    log: list[tuple[str, str]] = []

    async def program() -> None:
        async with open_kernel(backoff=Backoff(base=1, jitter=0)) as kernel:
            ref = await kernel.spawn(lambda: Tracer("a", log), name="a")
            await kernel.spawn(lambda: Tracer("b", log, 4), name="b")
            await ref.tell("crash")
            await trio.testing.wait_all_tasks_blocked()
            log.clear()
        assert trio.current_time() == 4
        assert log == [("stops", "b"), ("stopped", "b")]

    simulate(program, tape=tape)


@given(tape=tapes, strategy=st.sampled_from(Strategy), fails=st.integers(0, 2))
def test_23_a_start_that_fails_holds_up_those_behind_it_no_longer_than_its_retry(
    tape: Tape, strategy: Strategy, fails: int
) -> None:
    """23. A supervisor that was restarted itself: one child's start fails; all come up."""
    lives = [0, 0, 0]

    class Fails(Actor[Any]):
        def __init__(self, n: int) -> None:
            self.n = n

        async def on_start(self) -> None:
            lives[self.n] += 1
            if self.n == fails and lives[self.n] == 2:
                raise Broken

        async def receive(self, message: Any) -> Any:
            return message

    async def program() -> None:
        async with crashing_kernel() as kernel:
            group = await kernel.spawn_supervisor(
                "group", strategy=strategy, intensity=1, period=0.5, backoff=QUICK
            )
            refs = [
                await group.spawn(lambda n=n: Fails(n), name=f"{n}")  # type: ignore[misc]
                for n in range(3)
            ]
            for _ in range(2):
                crash(refs[0] if fails else refs[1])
                await trio.testing.wait_all_tasks_blocked()
            for ref in refs:
                assert await ask_any(ref, "up") == "up"

    simulate(program, tape=tape)


@given(
    tape=tapes,
    backoff=st.builds(
        Backoff,
        base=st.sampled_from([0.0, 0.1, 1.0]),
        max=st.sampled_from([0.5, 10.0]),
        jitter=st.sampled_from([0.0, 0.2, 3.0]),
        stable_after=st.sampled_from([2.0, 1000.0]),
    ),
    lives=st.lists(st.sampled_from([0.0, 1.0, 2.5, 5.0]), min_size=1, max_size=8),
)
def test_24_the_backoff_delay_follows_the_formula(
    tape: Tape, backoff: Backoff, lives: list[float]
) -> None:
    """24. `min(max, base * 2**n) * (1 + jitter * u)`; n is 0 again after a stable life."""
    starts: list[float] = []

    class Starts(Actor[Any]):
        async def on_start(self) -> None:
            starts.append(trio.current_time())
            if len(starts) <= len(lives):
                self.start_soon(self.die, lives[len(starts) - 1])

        async def die(self, after: float) -> None:
            await trio.sleep(after)
            raise Broken

    async def program() -> list[float]:
        # the same draws as the kernel will make: it is seeded
        draws = random.Random()
        draws.setstate(current_environment().random.getstate())
        expected = [0.0]
        n = 0
        for life in lives:
            if life > backoff.stable_after:
                n = 0
            delay = min(backoff.max, backoff.base * 2**n)
            delay *= 1 + backoff.jitter * draws.random()
            n += 1
            expected.append(expected[-1] + life + delay)
        async with open_kernel(intensity=99, backoff=backoff) as kernel:
            await kernel.spawn(Starts)
            await trio.sleep(1000)
        return expected

    expected = simulate(program, tape=tape)
    assert starts == pytest.approx(expected)


# --- 25: timers ---------------------------------------------------------------------------------


@attrs.frozen
class Set:
    """Set the timer of *key*."""

    key: str
    delay: float
    message: str
    repeat: bool = False


@attrs.frozen
class Unset:
    """Cancel the timer of *key*."""

    key: str


@attrs.frozen
class Busy:
    """Handle this for *seconds*."""

    seconds: float


steps = st.one_of(
    st.builds(
        Set,
        st.sampled_from("xy"),
        st.sampled_from([0.0, 1.0, 2.0, 4.0]),
        st.just(""),
        st.booleans(),
    ),
    st.builds(Unset, st.sampled_from("xy")),
    st.builds(Busy, st.sampled_from([0.5, 1.0, 3.0])),
    st.just("crash"),
)


@given(tape=tapes, script=st.lists(steps, max_size=12), gap=st.sampled_from([0.0, 0.75]))
def test_25_timers_follow_the_model(tape: Tape, script: list[Any], gap: float) -> None:
    """25. A replaced or cancelled timer's message is never handled; none outlives its life."""
    fired: list[tuple[float, Any]] = []
    current: dict[str, tuple[str, float, float | None]] = {}  # the model: text, due, period
    problems: list[str] = []
    numbers = itertools.count()

    class Modelled(Actor[Any]):
        async def on_start(self) -> None:
            current.clear()

        async def receive(self, message: Any) -> None:
            now = trio.current_time()
            match message:
                case Set(key, delay, _, repeat):
                    text = f"{key}{next(numbers)}"
                    self.set_timer(key, delay, text, repeat=repeat)
                    current[key] = (text, now + delay, delay if repeat else None)
                case Unset(key):
                    assert self.cancel_timer(key) == (key in current)
                    current.pop(key, None)
                case Busy(seconds):
                    await trio.sleep(seconds)
                case "crash":
                    raise Broken
                case str(text):
                    entry = current.get(text[0])
                    if entry is None or entry[0] != text or now < entry[1] - 1e-9:
                        problems.append(f"{text} at {now}, expected {entry}")
                    elif entry[2] is None:
                        del current[text[0]]
                    else:
                        current[text[0]] = (text, now + entry[2], entry[2])
                    fired.append((now, text))
                    if entry is not None and entry[2] == 0:
                        await trio.sleep(0.25)  # or it would never rest

    async def program() -> None:
        async with crashing_kernel(shutdown_timeout=1) as kernel:
            ref = await kernel.spawn(Modelled)
            for step in script:
                await ref.tell(step)
                await trio.sleep(gap)
            await trio.sleep(30)
            late = [each for each in current.values() if each[1] < trio.current_time() - 1]
            assert not late

    simulate(program, tape=tape)
    assert not problems


@given(tape=tapes, change=st.sampled_from(["replace", "cancel", "crash"]))
def test_25_a_message_that_is_queued_already_is_void_too(tape: Tape, change: str) -> None:
    """25. ... even if already queued: it fired while the actor was busy, then it was changed."""
    log: list[tuple[str, float]] = []
    lives: list[None] = []

    class Late(Actor[Any]):
        async def on_start(self) -> None:
            lives.append(None)
            for _ in lives:  # as many as to be level with the last life, were they counted anew
                self.set_timer("x", 50, "new life")

        async def receive(self, message: Any) -> None:
            if message != "go":
                log.append((message, trio.current_time()))
                return
            self.set_timer("x", 1, "old")
            await trio.sleep(2)  # it has fired by now, and waits its turn
            match change:
                case "replace":
                    self.set_timer("x", 9, "new")
                case "cancel":
                    self.cancel_timer("x")
                case "crash":
                    raise Broken

    async def program() -> None:
        async with crashing_kernel() as kernel:
            ref = await kernel.spawn(Late)
            await ref.tell("go")
            await trio.sleep(100)

    simulate(program, tape=tape)
    assert (
        log
        == {
            "replace": [("new", 11)],
            "cancel": [],
            "crash": [("new life", 52)],
        }[change]
    )


@given(tape=tapes, end=st.sampled_from(["crash", "stop", "inject"]))
def test_25_child_tasks_and_timers_end_with_their_incarnation(tape: Tape, end: str) -> None:
    """25. Timers and child tasks end with their incarnation, before the next one begins."""
    log: list[str] = []
    lives = itertools.count(1)

    class Parent(Actor[Any]):
        def __init__(self) -> None:
            self.life = next(lives)

        async def on_start(self) -> None:
            log.append(f"life {self.life}")
            if self.life == 1:
                self.set_timer("t", 5, "timer of life 1")
            self.start_soon(self.child)

        async def child(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                with trio.move_on_after(1, shield=True):
                    await trio.sleep_forever()
                log.append(f"child {self.life} ended")

        async def receive(self, message: Any) -> None:
            log.append(message)
            if message == "crash":
                raise Broken
            if message == "stop":
                self.stop()

    async def program() -> None:
        async with crashing_kernel() as kernel:
            ref = await kernel.spawn(Parent)
            if end == "inject":
                crash(ref)
            else:
                await ref.tell(end)
            await trio.sleep(100)

    simulate(program, tape=tape)
    assert [each for each in log if each != end] == [
        "life 1",
        "child 1 ended",
        "life 2",
        "child 2 ended",
    ]


def test_25_a_timer_that_is_set_again_and_again_takes_no_more_room() -> None:
    """25. Replaced timers are forgotten, not only ignored: a debounce of an hour stays small."""

    async def program() -> None:
        sizes: list[int] = []

        class Debounce(Actor[Any]):
            async def receive(self, message: Any) -> None:
                for _ in range(10_000):
                    self.set_timer("quiet", 3600, "quiet")
                sizes.append(len(self._alive.timers._heap))

        async with open_kernel() as kernel:
            ref = await kernel.spawn(Debounce)
            await ask_any(ref, "go")
        assert sizes[0] < 200

    simulate(program)


# --- 26, 27 -------------------------------------------------------------------------------------


@given(
    tape=tapes,
    watch_at=st.sampled_from([0.0, 1.0, 2.0, 3.0]),
    crashes=st.integers(0, 2),
    twice=st.booleans(),
    how=st.sampled_from(["stop", "give up"]),
    watcher_crashes=st.booleans(),
)
def test_26_watch_yields_terminated_exactly_once(
    tape: Tape, watch_at: float, crashes: int, twice: bool, how: str, watcher_crashes: bool
) -> None:
    """26. `Terminated` exactly once, at once if already dead, never for a restart."""
    heard: list[tuple[float, Terminated]] = []

    class Watches(Actor[Any]):
        async def receive(self, message: ActorRef[Any]) -> None:
            self.watch(message)
            if twice and message.is_alive:
                self.watch(message)

        async def signal(self, signal: Signal) -> None:
            assert isinstance(signal, Terminated)
            heard.append((trio.current_time(), signal))

    async def program() -> None:
        async with crashing_kernel() as kernel:
            ref = await kernel.spawn(lambda: Tracer("t", []), restart=Restart.TRANSIENT)
            doomed = await kernel.spawn(
                lambda: Tracer("d", []), name="d", restart=Restart.TEMPORARY
            )
            target = ref if how == "stop" else doomed
            watcher = await kernel.spawn(Watches)
            async with trio.open_nursery() as nursery:

                async def watch() -> None:
                    await trio.sleep(watch_at)
                    await watcher.tell(target)
                    if watcher_crashes:
                        await trio.sleep(0.2)
                        crash(watcher)

                nursery.start_soon(watch)
                for _ in range(crashes):
                    crash(ref)
                    await trio.sleep(0.5)
                await trio.sleep_until(2)
                await target.tell("stop" if how == "stop" else "crash")
            await trio.sleep(10)
            reason = "normal" if how == "stop" else "crashed: Broken('d')"
            assert [signal for _, signal in heard] == [Terminated(target, reason)]
            assert heard[0][0] == max(2.0, watch_at)

    simulate(program, tape=tape)


@given(tape=tapes)
def test_26_unwatch_undoes_a_watch_even_if_the_signal_is_queued(tape: Tape) -> None:
    """26. ... and not at all after `unwatch`."""
    heard: list[Signal] = []

    class Changes(Actor[Any]):
        async def receive(self, message: ActorRef[Any]) -> None:
            self.watch(message)
            await message.tell("stop")
            await message.stopped()
            self.unwatch(message)

        async def signal(self, signal: Signal) -> None:
            heard.append(signal)

    async def program() -> None:
        async with open_kernel() as kernel:
            target = await kernel.spawn(lambda: Tracer("t", []), restart=Restart.TRANSIENT)
            watcher = await kernel.spawn(Changes)
            await ask_any(watcher, target)
            await trio.sleep(1)

    simulate(program, tape=tape)
    assert heard == []


@given(
    tape=tapes,
    count=st.integers(1, 5),
    failing=st.integers(0, 5),
    slow=st.lists(st.sampled_from([0.0, 1.0]), min_size=5, max_size=5),
)
def test_27_children_start_in_order_and_a_failing_first_start_stops_the_earlier_ones(
    tape: Tape, count: int, failing: int, slow: list[float]
) -> None:
    """27. In order, the next after the previous `on_start` returned; a failing one is raised."""
    log: list[tuple[str, str]] = []
    names = "abcde"[:count]

    class Slow(Tracer):
        async def on_start(self) -> None:
            self.log.append(("starts", self.name))
            await trio.sleep(slow["abcde".index(self.name)])
            if self.name == "abcdef"[failing]:
                raise Broken(self.name)
            self.log.append(("started", self.name))

    tree = SupervisorSpec(
        "tree",
        children=[
            ActorSpec(
                lambda name=name: Slow(name, log),  # type: ignore[misc]
                name=name,
            )
            for name in names
        ],
    )

    async def program() -> None:
        if failing < count:
            with pytest.raises(SystemFailed) as caught:
                async with open_kernel(subtrees=[tree]):
                    raise AssertionError("the body must not run")
            group = caught.value.__cause__
            assert isinstance(group, ExceptionGroup)
            assert group.subgroup(SupervisorFailed) is not None
            error: BaseException | None = group.exceptions[0]
            while isinstance(error, SupervisorFailed):
                error = error.__cause__
            assert isinstance(error, Broken)
        else:
            async with open_kernel(subtrees=[tree]):
                log.append(("body", ""))

    simulate(program, tape=tape)
    up = names[:failing]
    assert log == [
        *((what, name) for name in up for what in ("starts", "started")),
        ("starts", names[failing]) if failing < count else ("body", ""),
        *((what, name) for name in reversed(up) for what in ("stops", "stopped")),
    ]


def test_27_a_spawn_whose_on_start_fails_tells_the_spawner_only() -> None:
    """27. A first start that fails in `spawn` is the spawner's: no incident, the name is free."""

    class Fails(Actor[Any]):
        async def on_start(self) -> None:
            raise Broken("no")

    async def program() -> None:
        async with open_kernel(intensity=0) as kernel:
            with pytest.raises(ActorFailed, match="on_start") as caught:
                await kernel.spawn(Fails, name="x")
            assert isinstance(caught.value.__cause__, Broken)
            ref = await kernel.spawn(lambda: Tracer("x", []), name="x")
            assert await ask_any(ref, "name") == "x"

    simulate(program)


@given(tape=tapes, late=st.booleans())
def test_21_a_group_restart_does_not_wait_for_who_waits_for_the_dead(
    tape: Tape, late: bool
) -> None:
    """21. A sibling whose handler asks the crashed actor is interrupted at once: the crashed one
    cannot answer before the group is up again, however long the sibling's drain."""
    up: list[tuple[str, float]] = []
    server: Any = None

    class Server(Actor[Any]):
        async def on_start(self) -> None:
            up.append(("server", trio.current_time()))

        async def receive(self, message: Any) -> Any:
            if message == "slow":
                await trio.sleep(3)
            return message

    class Client(Actor[Any]):
        async def on_start(self) -> None:
            up.append(("client", trio.current_time()))

        async def receive(self, message: Any) -> None:
            if late:
                await trio.sleep(5)  # it begins to wait while it is being stopped
            await ask_any(server, message)

    async def main() -> None:
        nonlocal server
        spec = SupervisorSpec(
            name="group", strategy=Strategy.REST_FOR_ONE, backoff=QUICK, intensity=100
        )
        async with crashing_kernel(subtrees=[spec]) as kernel:
            group = kernel._root.child_supervisor("group")
            server = await group.spawn(ActorSpec(Server, "server"))
            client = await group.spawn(ActorSpec(Client, "client", drain=1000))
            await server.tell("slow")
            await trio.sleep(1)
            await client.tell("quick")
            await trio.sleep(1)
            crash(server)  # as soon as "slow" is through: at 3, before "quick"
            await trio.sleep(10)
        again = 6 if late else 3
        assert up == [("server", 0), ("client", 0), ("server", again), ("client", again)]

    simulate(main, tape=tape)
