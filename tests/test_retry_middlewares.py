"""SimpleRetry and SmartRetry: a default for tasks that say nothing, and no more."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import actorq
from actorq import Context, InMemoryBroker, RetryPolicy
from actorq.middlewares import SimpleRetry, SmartRetry
from actorq.testing import Tape, simulate
from queue_strategies import INJECTED, tapes


@given(
    default=st.integers(0, 3),
    said=st.none() | st.integers(0, 3),
    ack=st.sampled_from(["when_received", "when_executed", "when_saved"]),
    tape=tapes,
)
def test_who_says_nothing_gets_the_default(
    default: int, said: int | None, ack: Any, tape: Tape
) -> None:
    """T32, T33, A20: `retries=0` is said; what is forgotten when it is taken has none."""
    if said and ack == "when_received":
        said = 0  # refused when it is declared
    runs: list[int] = []

    async def main() -> None:
        broker = InMemoryBroker().with_middlewares(SimpleRetry(default))
        options: Any = {"ack": ack} if said is None else {"ack": ack, "retries": said}

        async def work(ctx: Context = INJECTED) -> None:
            runs.append(ctx.attempt)
            raise ValueError

        task: Any = broker.task(**options)(work)
        async with actorq.open_system(broker):
            outcome = await (await task.kiq()).wait_result()
        retries = said if said is not None else 0 if ack == "when_received" else default
        assert runs == list(range(1, retries + 2))
        assert isinstance(outcome.error, ValueError)

    simulate(main, tape=tape)


def test_the_first_success_is_the_result() -> None:
    """T30: under the id that the caller has."""

    async def main() -> None:
        broker = InMemoryBroker().with_middlewares(SimpleRetry())

        @broker.task
        async def flaky(ctx: Context = INJECTED) -> int:
            if ctx.attempt < 3:
                raise ValueError
            return ctx.attempt

        async with actorq.open_system(broker):
            assert await (await flaky.kiq()).result() == 3

    simulate(main)


def test_tasks_with_other_options_keep_them() -> None:
    """The options that are shared by the calls of a task are copied once, for each task its own."""

    async def main() -> None:
        policy = RetryPolicy(retries=1, base=0.0)
        broker = InMemoryBroker().with_middlewares(SmartRetry(policy))
        seen: dict[str, tuple[Any, ...]] = {}

        @broker.task(name="a", labels={"of": "a"}, timeout=5)
        async def a(ctx: Context = INJECTED) -> None:
            options = ctx.message.options
            seen["a"] = (options.retry, options.timeout, dict(options.labels))

        @broker.task(name="b", labels={"of": "b"})
        async def b(ctx: Context = INJECTED) -> None:
            options = ctx.message.options
            seen["b"] = (options.retry, options.timeout, dict(options.labels))

        async with actorq.open_system(broker):
            for task in (a, b, a, b):
                seen.clear()
                await (await task.kiq()).result()
                ((name, found),) = seen.items()
                assert found == (policy, 5.0 if name == "a" else None, {"of": name})
        assert a.options.retry is None

    simulate(main)


def test_wrong_arguments_are_refused() -> None:
    """With what is expected."""
    for wrong in (-1, True, "3", 1.5):
        with pytest.raises(TypeError, match="number of attempts after the first"):
            SimpleRetry(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="SmartRetry expects a RetryPolicy"):
        SmartRetry(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("as_bytes", [False, True])
def test_the_policy_s_filters_hold(as_bytes: bool) -> None:
    """T34: for tasks that say nothing; also on an engine that keeps messages as bytes."""

    class Travels(actorq.Middleware):
        def pre_execute(self, message: actorq.TaskMessage) -> actorq.TaskMessage:
            return actorq.TaskMessage.from_dict(message.to_dict()) if as_bytes else message

    runs: list[tuple[str, int]] = []

    async def main() -> None:
        policy = RetryPolicy.constant(2, base=1, retry_on=ConnectionError)
        broker = InMemoryBroker().with_middlewares(Travels(), SmartRetry(policy))

        @broker.task(name="listed")
        async def listed(ctx: Context = INJECTED) -> None:
            runs.append(("listed", ctx.attempt))
            raise ConnectionResetError

        @broker.task(name="other")
        async def other(ctx: Context = INJECTED) -> None:
            runs.append(("other", ctx.attempt))
            raise ValueError

        @broker.task(name="own", retries=RetryPolicy.constant(2, base=1))
        async def own(ctx: Context = INJECTED) -> None:
            runs.append(("own", ctx.attempt))
            raise ValueError

        async with actorq.open_system(broker):
            for task in (listed, other, own):
                await (await task.kiq()).wait_result()

    simulate(main)
    assert runs == [
        *[("listed", n) for n in (1, 2, 3)],
        ("other", 1),
        *[("own", n) for n in (1, 2, 3)],
    ]


def test_the_steps_of_a_chain_have_the_default_too() -> None:
    """Hooks run for the first step only; and a step may say that it wants none."""
    runs: list[tuple[str, int]] = []

    async def main() -> None:
        broker = InMemoryBroker().with_middlewares(SimpleRetry(retries=1))

        @broker.task(name="first")
        async def first(ctx: Context = INJECTED) -> int:
            runs.append(("first", ctx.attempt))
            return 1

        @broker.task(name="second")
        async def second(n: int, ctx: Context = INJECTED) -> int:
            runs.append(("second", ctx.attempt))
            if ctx.attempt == 1:
                raise ValueError
            return n + 1

        @broker.task(name="third", retries=0)
        async def third(n: int, ctx: Context = INJECTED) -> int:
            runs.append(("third", ctx.attempt))
            raise ValueError

        async with actorq.open_system(broker):
            with pytest.raises(ValueError):
                await (await (first | second | third).kiq()).result()

    simulate(main)
    assert runs == [("first", 1), ("second", 1), ("second", 2), ("third", 1)]
