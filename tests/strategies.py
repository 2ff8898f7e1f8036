"""What the property tests draw from, and the kernels that they run on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from hypothesis import settings
from hypothesis import strategies as st

from actorq.kernel import Kernel, open_kernel
from actorq.ref import ActorRef
from actorq.restart import Backoff
from actorq.supervisor import SupervisorSpec
from actorq.testing import schedules


#: Schedules long enough for the small programs here.
tapes = schedules(max_size=100)

#: A back-off without waiting, for tests that are not about it.
QUICK: Final = Backoff(base=0, jitter=0)

#: Seconds in which the drawn programs have their faults.
SOON: Final = st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.0, 5.0])


def examples(n: int) -> int:
    """How many to draw where *n* are right by default: more in a profile that asks for more."""
    return round(n * settings().max_examples / 100)


def crashing_kernel(
    *, subtrees: Sequence[SupervisorSpec] = (), **options: Any
) -> AbstractAsyncContextManager[Kernel]:
    """A kernel whose actors may crash as often as they like."""
    return open_kernel(
        subtrees=subtrees, **{"intensity": 10_000, "period": 1.0, "backoff": QUICK, **options}
    )


async def ask_any(ref: ActorRef[Any], message: Any) -> Any:
    """Ask, without types: for messages that are not `Message`s."""
    return await ref.ask(message)
