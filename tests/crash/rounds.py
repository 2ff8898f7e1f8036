"""A round: a client, workers and a scheduler on one file, some of them killed while they are busy."""

from __future__ import annotations

import itertools
import random
import signal
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs
import trio

import actorq
from crash import tasks
from crash.fleet import Fleet, Member, open_fleet
from crash.tables import look, look_at_the_end
from crash.verdict import Judge, Verdict


@attrs.frozen
class Kill:
    """Somebody dies when so many tasks have begun, and a little later."""

    begun: int
    later: float
    whom: str  #: worker, client, scheduler, all; "stop": a worker stands still for too long


@attrs.frozen
class Round:
    """What a round is made of; all of it comes from the seed."""

    seed: int
    tasks: int
    workers: int
    concurrency: int
    kinds: str  #: the name of what the client draws from
    has_scheduler: bool
    kills: tuple[Kill, ...]
    commits: tuple[
        tuple[int, int], ...
    ]  #: of the first workers: in which commit each dies, and when

    @classmethod
    def drawn(cls, seed: int, tasks: int = 580) -> Round:
        """The round of this seed."""
        random_ = random.Random(seed)
        mixed = random_.random() < 0.7
        has_scheduler = mixed and random_.random() < 0.5
        whom = ["worker"] * 6 + ["client"] * 2 + ["scheduler"] * has_scheduler + ["all", "stop"]
        kills = tuple(
            Kill(random_.randrange(tasks), random_.uniform(0, 0.02), random_.choice(whom))
            for _ in range(random_.randint(1, 4))
        )
        workers = random_.randint(1, 3)
        commits = tuple(
            (random_.randint(1, 150), random_.randint(0, 1500))
            for _ in range(random_.choice((0, 0, 1, 2)))
        )
        return cls(
            seed=seed,
            tasks=tasks,
            workers=workers,
            concurrency=random_.choice((1, 4, 10, 20)) if mixed else random_.choice((10, 20)),
            kinds="MIXED" if mixed else "PLAIN",
            has_scheduler=has_scheduler,
            kills=tuple(sorted(kills, key=lambda kill: kill.begun)),
            commits=commits[:workers],
        )


async def play(round_: Round, folder: Path, *, lease: float = 3.0) -> Verdict:
    """Run it to the end, and judge it."""
    async with open_fleet(folder, lease=lease) as fleet, trio.open_nursery() as nursery:
        course = _Course(round_, fleet, nursery)
        await course.start()
        nursery.start_soon(course.kill)
        await fleet.journal.until(lambda: bool(fleet.journal.said("enqueued")))
        results = await course.results()
        nursery.cancel_scope.cancel(reason="all tasks have ended")
        with trio.CancelScope(shield=True):
            await fleet.stop("scheduler")
            await fleet.stop("worker", "client")
    judge = Judge(fleet, results)
    verdict = judge.judge()
    verdict.wrong += course.seen + look_at_the_end(fleet.file, judge.accepted)
    if round_.has_scheduler:
        verdict.wrong += missing_slots(judge.runs)
    return verdict


class _Course:
    """One round as it goes on."""

    def __init__(self, round_: Round, fleet: Fleet, nursery: trio.Nursery) -> None:
        self.round = round_
        self.fleet = fleet
        self.journal = fleet.journal
        self.seen: list[str] = []  #: what was wrong with the tables meanwhile
        self._nursery = nursery

    async def start(self) -> None:
        """All processes."""
        for number in range(self.round.workers):
            await self._start("worker", *self.round.commits[number : number + 1])
        if self.round.has_scheduler:
            await self._start("scheduler")
            await self._start("scheduler")
        await self._start("client")

    async def kill(self) -> None:
        """Kill whom the round says."""
        for kill in self.round.kills:
            begun = kill.begun
            await self.journal.until(lambda: len(self.journal.said("begin")) >= begun)  # noqa: B023
            await trio.sleep(kill.later)
            if kill.whom == "stop":
                self._nursery.start_soon(self._stop)
                continue
            for member in self._doomed(kill.whom):
                member.signal(signal.SIGKILL)
            self.seen += await trio.to_thread.run_sync(look, self.fleet.file, self.accepted)

    @property
    def accepted(self) -> list[str]:
        """The ids of the tasks that were accepted by now."""
        return [each for entry in self.journal.said("accepted") for each in entry.words[2:]]

    async def results(self) -> dict[str, actorq.TaskResult[Any] | None]:
        """How each accepted task ended, waited for in this process."""
        results: dict[str, actorq.TaskResult[Any] | None] = {}
        async with actorq.open_system(self.fleet.client(), role="client") as sys:
            for task_id in self.accepted:
                results[task_id] = None
                with trio.move_on_after(10 * self.fleet.lease):
                    try:
                        results[task_id] = await sys.handle(task_id).wait_result()
                    except actorq.ResultGetError as error:
                        self.seen.append(f"who waits for {task_id} hears {error}")
        return results

    async def _stop(self) -> None:
        """A worker stands still for longer than its lease, and goes on as if nothing had been."""
        for worker in [each for each in self.fleet.living("worker") if not each.stopped][:1]:
            worker.signal(signal.SIGSTOP)
            try:
                await trio.sleep(1.3 * self.fleet.lease)
            finally:
                worker.signal(signal.SIGCONT)

    def _doomed(self, whom: str) -> list[Member]:
        if whom == "all":
            return self.fleet.living("worker", "client", "scheduler")
        return (self.fleet.living(whom) or self.fleet.living("worker"))[:1]

    async def _start(self, role: str, *commit: tuple[int, int]) -> None:
        round_ = self.round
        arguments: tuple[object, ...] = ()
        if role == "worker":
            arguments = (round_.concurrency, *(number for pair in commit for number in pair))
        if role == "client":
            done = ",".join(entry.words[0] for entry in self.journal.said("accepted"))
            arguments = (round_.seed, round_.tasks, round_.kinds, done)
        self._nursery.start_soon(self._replace, await self.fleet.start(role, *arguments))

    async def _replace(self, member: Member) -> None:
        """Start another one when it is killed."""
        status = await member.process.wait()
        assert status in (0, -signal.SIGKILL), f"{member.role} {member.pid} ended with {status}"
        if status == -signal.SIGKILL and not self.journal.said("enqueued", member.pid):
            await self._start(member.role)


def missing_slots(ran: Iterable[str], tick: float = tasks.TICK) -> list[str]:
    """Which slots of `tick` did not run between the first and the last that did (40)."""
    slots = sorted(slot_of(task_id) for task_id in ran if task_id.startswith(f"{tasks.tick.name}/"))
    return [
        f"no slot of tick between {one} and {two}"
        for one, two in itertools.pairwise(slots)
        if two - one > 1.5 * tick
    ]


def slot_of(task_id: str) -> float:
    """When a slot was to be fired, by the id of its task."""
    return datetime.fromisoformat(task_id.rpartition("@")[2]).timestamp()
