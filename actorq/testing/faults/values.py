"""Faults as values: to be drawn, shrunk, printed, and pasted into a test as they stand.

Each says in whose life it strikes and when; `inject` arms them.  Their order here is from the simplest
on: that is how examples shrink.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from actorq.ref import ActorRef
from actorq.testing.faults import calls, clocks, crashes, messages
from actorq.testing.faults.kinds import Kinds, kinds_of, name_of
from actorq.testing.faults.planned import Planned, counted, seconds_of
from actorq.testing.process import Process


#: pytest shows the reader's own lines, not ours; `--full-trace` shows all.
__tracebackhide__ = True


def _moment(_: object, __: object, at: float) -> None:
    if isinstance(at, bool) or not isinstance(at, int | float) or not at >= 0:
        raise ValueError(f"at expects seconds from when the plan begins, 0 or more; got {at!r}")


def _positive(_: object, __: object, seconds: float) -> None:
    seconds_of(seconds)


def _finite(_: object, __: object, seconds: float) -> None:
    seconds_of(seconds, above=None)


def _count(_: object, __: object, k: int) -> None:
    counted(k)


def _kinds(_: object, __: object, of: Any) -> None:
    kinds_of(of)


def _name(_: object, attribute: attrs.Attribute[str], name: str) -> None:
    if not isinstance(name, str):
        raise TypeError(
            f"{attribute.name} expects the name under which inject() knows it, such as 'broker'; "
            f"got {name!r}"
        )


class Scene:
    """Who is who where a plan is carried out."""

    def __init__(self, names: Mapping[str, object]) -> None:
        self._names = names

    def actor(self, name: str) -> ActorRef[Any]:
        """The ref of that name."""
        found = self.named(name)
        if not isinstance(found, ActorRef):
            raise TypeError(f"{name!r} is no actor here: {found!r}")
        return found

    def part(self, name: str) -> object:
        """The object of that name whose methods are called."""
        found = self._names.get(f"engine of {name}")
        return self.named(name) if found is None else found

    def process(self, name: str) -> Process:
        """The process of that name."""
        found = self.named(name)
        if not isinstance(found, Process):
            raise TypeError(f"{name!r} is no process here: {found!r}")
        return found

    def named(self, name: str) -> object:
        """Whatever has that name."""
        if name not in self._names:
            known = ", ".join(each for each in self._names if " " not in each)
            raise ValueError(
                f"the plan names {name!r}, and here there are: {known or 'none'}; name others in the "
                f"call, as in inject(sys, plan, {name}=...)"
            )
        return self._names[name]


class Fault:
    """What is to go wrong: once, at a moment or at the k-th of something.

    A frozen value; `repr` can be pasted.
    """

    __slots__ = ()

    #: It may crash an actor: a supervisor puts up with three of these in 30 seconds.
    crashes = False

    def arm(self, scene: Scene) -> Planned:
        """Plan it; for those that wait for the k-th of something."""
        raise NotImplementedError

    def __repr__(self) -> str:
        said: list[str] = []
        plain = True  #: those before it are all said by place
        for each in attrs.fields(type(self)):  # type: ignore[arg-type]
            value = getattr(self, each.name)
            if value == each.default:
                plain = False
                continue
            text = name_of(value) if each.name == "of" else repr(value)
            plain = plain and each.default is attrs.NOTHING
            said.append(text if plain else f"{each.name}={text}")
        return f"{type(self).__name__}({', '.join(said)})"


class Moment(Fault):
    """A fault that strikes `at` so many seconds after its plan begins."""

    __slots__ = ()
    at: float

    def check(self, scene: Scene, /) -> None:
        """Raise now what `strike` would raise then."""
        raise NotImplementedError

    def strike(self, scene: Scene, /) -> bool:
        """Do it; False if there is nothing that it could strike."""
        raise NotImplementedError


@attrs.frozen(repr=False)
class Crash(Moment):
    """`crash`, at a moment."""

    actor: str = attrs.field(validator=_name)
    at: float = attrs.field(default=0.0, validator=_moment)
    crashes = True

    def check(self, scene: Scene) -> None:
        """There is such an actor."""
        scene.actor(self.actor)

    def strike(self, scene: Scene) -> bool:
        """Crash it."""
        ref = scene.actor(self.actor)
        crashes.crash(ref)
        return ref.is_alive


@attrs.frozen(repr=False)
class CrashAt(Fault):
    """`crash_at`."""

    actor: str = attrs.field(validator=_name)
    k: int = attrs.field(default=1, validator=_count)
    of: Kinds | None = attrs.field(default=None, validator=_kinds)
    crashes = True

    def arm(self, scene: Scene) -> Planned:
        """Lie in wait."""
        return crashes.crash_at(scene.actor(self.actor), self.k, of=self.of)


@attrs.frozen(repr=False)
class Drop(Fault):
    """`drop`."""

    actor: str = attrs.field(validator=_name)
    of: Kinds | None = attrs.field(default=None, validator=_kinds)
    k: int = attrs.field(default=1, validator=_count)
    answer: bool = False
    crashes = True

    def arm(self, scene: Scene) -> Planned:
        """Lie in wait."""
        ref = scene.actor(self.actor)
        return messages.drop(ref, of=self.of, k=self.k, answer=self.answer)


@attrs.frozen(repr=False)
class Delay(Fault):
    """`delay`."""

    actor: str = attrs.field(validator=_name)
    seconds: float = attrs.field(validator=_positive)
    of: Kinds | None = attrs.field(default=None, validator=_kinds)
    k: int = attrs.field(default=1, validator=_count)

    def arm(self, scene: Scene) -> Planned:
        """Lie in wait."""
        return messages.delay(scene.actor(self.actor), self.seconds, of=self.of, k=self.k)


@attrs.frozen(repr=False)
class Reorder(Fault):
    """`reorder`."""

    actor: str = attrs.field(validator=_name)
    of: Kinds | None = attrs.field(default=None, validator=_kinds)
    k: int = attrs.field(default=1, validator=_count)

    def arm(self, scene: Scene) -> Planned:
        """Lie in wait."""
        return messages.reorder(scene.actor(self.actor), of=self.of, k=self.k)


@attrs.frozen(repr=False)
class Duplicate(Fault):
    """`duplicate`."""

    actor: str = attrs.field(validator=_name)
    of: Kinds | None = attrs.field(default=None, validator=_kinds)
    k: int = attrs.field(default=1, validator=_count)

    def arm(self, scene: Scene) -> Planned:
        """Lie in wait."""
        return messages.duplicate(scene.actor(self.actor), of=self.of, k=self.k)


@attrs.frozen(repr=False)
class FailCall(Fault):
    """`fail_call`, of an engine: `part` is "broker", "results", "schedules", or a name of yours."""

    part: str = attrs.field(validator=_name)
    method: str = attrs.field(validator=_name)
    k: int = attrs.field(default=1, validator=_count)

    @property
    def crashes(self) -> bool:  # type: ignore[override]
        """A broker whose engine fails crashes; a result backend answers with an error."""
        return self.part == "broker"

    def arm(self, scene: Scene) -> Planned:
        """Lie in wait."""
        return calls.fail_call(scene.part(self.part), self.method, k=self.k)


@attrs.frozen(repr=False)
class LoseAnswer(FailCall):
    """`lose_answer`, of an engine."""

    def arm(self, scene: Scene) -> Planned:
        """Lie in wait."""
        return calls.lose_answer(scene.part(self.part), self.method, k=self.k)


@attrs.frozen(repr=False)
class HangCall(Fault):
    """`hang_call`, of an engine."""

    part: str = attrs.field(validator=_name)
    method: str = attrs.field(validator=_name)
    seconds: float = attrs.field(validator=_positive)
    k: int = attrs.field(default=1, validator=_count)

    def arm(self, scene: Scene) -> Planned:
        """Lie in wait."""
        return calls.hang_call(scene.part(self.part), self.method, self.seconds, k=self.k)


@attrs.frozen(repr=False)
class Leap(Moment):
    """`leap`, at a moment."""

    seconds: float = attrs.field(validator=_finite)
    at: float = attrs.field(default=0.0, validator=_moment)

    def check(self, _scene: Scene) -> None:
        """There is a clock to be set."""
        clocks.simulation_for("leap")

    def strike(self, _scene: Scene) -> bool:
        """Set the clock."""
        clocks.leap(self.seconds)
        return True


@attrs.frozen(repr=False)
class Stall(Moment):
    """`stall`, at a moment, of an actor or a process."""

    whom: str = attrs.field(validator=_name)
    seconds: float = attrs.field(validator=_positive)
    at: float = attrs.field(default=0.0, validator=_moment)

    def check(self, scene: Scene) -> None:
        """There is somebody to be stalled."""
        clocks.simulation_for("stall")
        whom = scene.named(self.whom)
        if not isinstance(whom, Process):
            scene.actor(self.whom)

    def strike(self, scene: Scene) -> bool:
        """Stop it for a while."""
        whom: Any = scene.named(self.whom)
        return clocks.stall(whom, self.seconds)


@attrs.frozen(repr=False)
class StallLoop(Moment):
    """`stall_loop`, at a moment."""

    seconds: float = attrs.field(validator=_positive)
    at: float = attrs.field(default=0.0, validator=_moment)

    def check(self, _scene: Scene) -> None:
        """There is a loop to be stalled."""
        clocks.simulation_for("stall_loop")

    def strike(self, _scene: Scene) -> bool:
        """Let time go by."""
        clocks.stall_loop(self.seconds)
        return True


@attrs.frozen(repr=False)
class Kill(Moment):
    """`Process.kill`, at a moment."""

    process: str = attrs.field(validator=_name)
    at: float = attrs.field(default=0.0, validator=_moment)

    def check(self, scene: Scene) -> None:
        """There is such a process."""
        scene.process(self.process)

    def strike(self, scene: Scene) -> bool:
        """End it as SIGKILL does."""
        process = scene.process(self.process)
        alive = process.is_running
        process.kill()
        return alive
