"""Faults: what a server and the way to it do to a queue, while real processes work through it.

A *run* of rounds: one server, two workers and a client, in some runs two schedulers; the client enqueues
hundreds of tasks for each round, and waits for their results as it goes on.  In each round, when so many
tasks have begun, the fault befalls them.  At the end everything is held against the promises.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import trio

import actorq
from crash import tasks
from crash.fleet import Fleet, Member, open_fleet
from crash.program import UNAVAILABLE
from crash.rounds import missing_slots
from crash.verdict import NANO, Judge, Trouble, Verdict
from servers.fixtures import running
from servers.postgres import PostgresServer
from servers.process import Server
from servers.proxy import WAYS, Proxy
from servers.redis import RedisServer


TASKS: Final = int(os.environ.get("ACTORQ_FAULT_TASKS", "300"))
#: In the environment: a file to which the journal of a run is written.
KEEP: Final = "ACTORQ_CRASH_KEEP"
LEASE: Final = 3.0
#: Seconds: as long as a server is away, at most, unless it is to be longer than a lease.
AWAY: Final = 3.0
#: Seconds between two slots of a schedule: more than 100 are not made up for.
TICK: Final = 1.0
#: Seconds: what others did is seen; a call is given up.
RECHECK: Final = 0.25
TIMEOUT: Final = 5.0
#: Seconds from the end of a fault within which work has to go on.
SLACK: Final = 5.0
HEALED: Final = 2 * LEASE + SLACK


@attrs.frozen
class Fault:
    """One kind of misfortune."""

    name: str
    befall: Callable[[Course], Awaitable[None]]
    engines: tuple[str, ...] = ("redis", "postgres")
    settings: dict[str, dict[str, Any]] = attrs.field(factory=dict)  #: of its servers
    proxied: bool = False
    disk: dict[str, str] = attrs.field(factory=dict)
    #: No lease is lost for it, so that nothing may run twice.
    harmless: bool = False


@attrs.define
class Report:
    """What a run has shown."""

    verdict: Verdict
    refused: int = 0  #: words with stale fences that the server refused
    faults: int = 0  #: that befell it
    starved: int = 0  #: times that a process did not run, for the machine had too much to do
    unsure: int = 0  #: calls that ended in "ask again"
    healing: list[float] = attrs.field(
        factory=list
    )  #: seconds from a fault's end to the next start
    seconds: float = 0.0


class Course:
    """A run as it goes on."""

    def __init__(
        self,
        seed: int,
        rounds: int,
        tasks_of_a_round: int,
        fleet: Fleet,
        server: Server | None,
        proxies: list[Proxy],
        nursery: trio.Nursery,
    ) -> None:
        self.random = random.Random(f"{seed} faults")
        self.seed = seed
        self.rounds = rounds
        self.tasks = tasks_of_a_round
        self.fleet = fleet
        self.journal = fleet.journal
        self._server = server
        self.proxies = (
            proxies  #: the first worker goes through the first, all others through the second
        )
        self.troubles: list[Trouble] = []
        self.seen: list[str] = []
        self.unheard: dict[str, Exception] = {}  #: what was heard in place of results
        self.faults = 0
        self.over = False
        self.all_done = 0  #: entries of the journal when all accepted tasks had ended
        self._nursery = nursery
        self.concurrency = self.random.choice((4, 10, 20))
        self.has_scheduler = self.random.random() < 0.5
        self.kinds = "MIXED" if self.random.random() < 0.8 else "PLAIN"

    @property
    def server(self) -> Server:
        """If it has one."""
        assert self._server is not None
        return self._server

    async def start(self) -> None:
        """All processes."""
        for number in range(2):
            await self._start("worker", self._through(number))
        if self.has_scheduler:
            await self._start("scheduler", self._through(1))
            await self._start("scheduler", self._through(1))
        await self._start("client", self._through(1))

    async def befall(self, fault: Fault) -> None:
        """Once in each round."""
        for number in range(self.rounds):
            begun = number * self.tasks + self.random.randrange(self.tasks * 2 // 3)
            await self.journal.until(lambda: self.journal.counts["begin"] >= begun)  # noqa: B023
            await trio.sleep(self.random.uniform(0, 0.02))
            self.faults += 1
            await fault.befall(self)

    @contextmanager
    def trouble(self, name: str) -> Iterator[None]:
        """From here to there."""
        trouble = Trouble(name, time.monotonic_ns())
        self.troubles.append(trouble)
        try:
            yield
        finally:
            trouble.ended = time.monotonic_ns()

    async def blocking(self, what: Callable[[], Any]) -> Any:
        """The servers are started and stopped by blocking calls."""
        with trio.CancelScope(shield=True):
            return await trio.to_thread.run_sync(what)

    def seconds(self, least: float, most: float) -> float:
        """Drawn."""
        return self.random.uniform(least, most)

    @property
    def accepted(self) -> list[str]:
        """The ids of the tasks that were accepted by now."""
        return [each for entry in self.journal.said("accepted") for each in entry.words[2:]]

    async def results(self, sys: actorq.System) -> dict[str, actorq.TaskResult[Any] | None]:
        """How each accepted task ended."""
        results: dict[str, actorq.TaskResult[Any] | None] = dict.fromkeys(self.accepted)
        ids, backend = [*results], sys._broker.result_backend
        for first in range(0, len(ids), 500):  # most are there, and one by one takes its time
            results |= dict((await backend.look_up(ids[first : first + 500])).results)
        missing = [task_id for task_id, result in results.items() if result is None]

        async def fetch(task_ids: list[str]) -> None:
            for task_id in task_ids:
                with trio.move_on_after(20 * self.fleet.lease):
                    try:
                        results[task_id] = await sys.handle(task_id).wait_result()
                    except actorq.ResultGetError as error:
                        self.unheard[task_id] = error

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(fetch, missing[number::50])
        return results

    async def find_the_deaf(self, sys: actorq.System) -> None:
        """More work than any but all of them can take at a time: each has to begin some of it."""
        living = [each for each in self.fleet.living("worker") if self.journal.said("up", each.pid)]
        before = self.all_done = len(self.journal.entries)
        many = [(4 * RECHECK,)] * (self.concurrency * len(living))
        handles = await sys.enqueue_many(tasks.step, many)
        for handle in handles:
            await handle.wait_result()
        began = {each.pid for each in self.journal.entries[before:] if each.what == "begin"}
        for member in living:
            if member.pid not in began and member.lives:
                self.seen.append(f"worker {member.pid} is deaf: it took nothing of {len(many)}")

    def healing(self) -> list[float]:
        """From the end of each fault to the next start of a task."""
        entries = self.journal.entries[: self.all_done]
        began = [each.at for each in entries if each.what == "begin"]
        after = [
            (min((at for at in began if at >= each.ended), default=None), each.ended)
            for each in self.troubles
        ]
        return [(at - ended) / NANO for at, ended in after if at is not None]

    def _through(self, number: int) -> dict[str, str]:
        if self.proxies:
            folder = self.fleet.file.parent
            return {tasks.URL: _url(self._server, folder, self.proxies[number].port)}
        return {}

    async def _start(self, role: str, environment: dict[str, str]) -> None:
        arguments: tuple[object, ...] = ()
        if role == "worker":
            arguments = (self.concurrency,)
        if role == "client":
            done = ",".join(entry.words[0] for entry in self.journal.said("accepted"))
            arguments = (self.seed, self.tasks * self.rounds, self.kinds, done, "insist")
        member = await self.fleet.start(role, *arguments, environment=environment)
        self._nursery.start_soon(self._replace, member, environment)

    async def _replace(self, member: Member, environment: dict[str, str]) -> None:
        """Start another one when it has ended."""
        status = await member.process.wait()
        if status == 0 or (self.over and status == -signal.SIGTERM):  # it was not up yet
            return
        if status not in (-signal.SIGKILL, UNAVAILABLE):
            self.seen.append(
                f"{member.role} {member.pid} ended with {status}: {_tail(self.fleet.log)}"
            )
            if len(self.seen) > 20:
                raise AssertionError(self.seen)
        if status == UNAVAILABLE:
            await trio.sleep(0.1)
        if not (member.role == "client" and self.journal.said("enqueued")) and not self.over:
            await self._start(member.role, environment)


def starved(fleet: Fleet) -> list[Trouble]:
    """When processes did not run, for the machine had too much to do: that may cost a lease, too."""
    return [
        Trouble("starved", each.at - float(each.words[0]) * NANO, each.at, each.pid)
        for each in fleet.journal.said("starved")
        if float(each.words[0]) > LEASE / 3
    ]


def keep(course: Course) -> None:
    """Write down what happened, for who wants to know how."""
    lines: list[tuple[float, str]] = [
        (each.at, f"{each.pid} {each.what} {' '.join(each.words)}")
        for each in course.journal.entries
    ]
    for trouble in course.troubles:
        lines += [(trouble.began, f"0 {trouble.name} begins"), (trouble.ended, "0 it is over")]
    text = "".join(f"{at / NANO:.6f} {line}\n" for at, line in sorted(lines))
    Path(os.environ[KEEP]).write_text(text)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-60:])


# --- the faults ---


async def kill(course: Course) -> None:
    """SIGKILL: a worker, both, or the client."""
    whom = course.random.choice(("worker", "worker", "worker", "workers", "client"))
    for member in course.fleet.living(whom.removesuffix("s"))[: 2 if whom == "workers" else 1]:
        member.signal(signal.SIGKILL)


async def stop(course: Course) -> None:
    """A worker stands still (SIGSTOP) for longer than its lease."""
    for worker in course.fleet.living("worker")[:1]:
        with course.trouble("stop"):
            worker.signal(signal.SIGSTOP)
            try:
                await trio.sleep(course.seconds(1.1, 1.5) * LEASE)
            finally:
                worker.signal(signal.SIGCONT)


async def restart(course: Course) -> None:
    """The server is killed, and comes back with what it has on its disk."""
    with course.trouble("restart"):
        await course.blocking(course.server.kill)
        await trio.sleep(
            course.random.choice((0, course.seconds(0, 1), course.seconds(0, AWAY / 2)))
        )
        await course.blocking(course.server.start)


async def cut(course: Course) -> None:
    """Connections are cut after so many bytes, in the middle of commands, of either way."""
    with course.trouble("cut"):
        for _ in range(course.random.randint(5, 15)):
            for proxy in course.proxies:
                size = int(2 ** course.seconds(0, 12))
                reset = course.random.random() < 0.5
                proxy.cut_after(size, course.random.choice(WAYS), reset=reset)
            await trio.sleep(course.seconds(0, 0.1))
        for proxy in course.proxies:
            proxy.spare()


async def pause(course: Course) -> None:
    """The server stands still (SIGSTOP) for longer than a lease."""
    with course.trouble("pause"):
        await course.blocking(course.server.pause)
        await trio.sleep(course.seconds(1.1, 1.5) * LEASE)
        await course.blocking(course.server.resume)


async def slow(course: Course) -> None:
    """Each way takes 20 to 50 ms."""
    for proxy in course.proxies:
        proxy.delay(course.seconds(0.02, 0.05), "requests")
        proxy.delay(course.seconds(0.02, 0.05), "replies")


async def away(course: Course) -> None:
    """Nobody reaches the server, and is told so."""
    with course.trouble("away"):
        for proxy in course.proxies:
            proxy.away()
        await trio.sleep(course.seconds(0.1, AWAY))
        for proxy in course.proxies:
            proxy.accept()


async def split(course: Course) -> None:
    """One worker does not reach the server for longer than its lease, and is not told: others do."""
    with course.trouble("split"):
        course.proxies[0].freeze()
        await trio.sleep(course.seconds(1.1, 1.5) * LEASE)
        course.proxies[0].thaw()


async def oom(course: Course) -> None:
    """The server has no memory left, and then more."""
    server = course.server
    assert isinstance(server, RedisServer)
    with course.trouble("oom"):
        await course.blocking(lambda: server.ask("config", "set", "maxmemory", 1_000_000))
        await trio.sleep(course.seconds(0.5, AWAY))
        await course.blocking(lambda: server.ask("config", "set", "maxmemory", 0))


async def disk(course: Course) -> None:
    """The server's disk is full, and then is not."""
    server = course.server
    with course.trouble("disk"):
        await course.blocking(server.fill_disk)
        try:
            with trio.move_on_after(course.seconds(0.5, AWAY)):
                while server.is_running:
                    await trio.sleep(0.05)
        finally:
            await course.blocking(server.free_disk)
        await course.blocking(server.revive)


_KEPT: Final[dict[str, dict[str, Any]]] = {
    "redis": {"appendonly": True, "appendfsync": "always"},
    "postgres": {"fsync": True, "synchronous_commit": "on"},
}

FAULTS: Final = {
    each.name: each
    for each in (
        Fault("kill", kill, ("sqlite", "redis", "postgres")),
        Fault("stop", stop, ("sqlite", "redis", "postgres")),
        Fault("restart", restart, settings=_KEPT),
        Fault("cut", cut, proxied=True),
        Fault("away", away, proxied=True),
        Fault("split", split, proxied=True),
        Fault("pause", pause),
        Fault("slow", slow, proxied=True, harmless=True),
        Fault("oom", oom, ("redis",)),
        Fault(
            "disk",
            disk,
            settings={
                "redis": {**_KEPT["redis"], "auto_aof_rewrite_percentage": 0},
                "postgres": {**_KEPT["postgres"], "max_wal_size": "16MB", "min_wal_size": "2MB"},
            },
            disk={"redis": "64m", "postgres": "200m"},
        ),
    )
}


def server_for(engine: str, fault: Fault) -> Server | None:
    """What the fault needs."""
    if engine == "sqlite":
        return None
    settings, size = fault.settings.get(engine, {}), fault.disk.get(engine)
    if engine == "redis":
        return RedisServer(disk=size, **settings)
    return PostgresServer(disk=size, **settings)


def _url(server: Server | None, folder: Path, port: int | None = None) -> str:
    if server is None:
        return f"sqlite:///{folder}/crash.db?recheck={RECHECK}"
    assert isinstance(server, RedisServer | PostgresServer)
    return f"{server.url_at(port or server.port)}?recheck={RECHECK}&timeout={TIMEOUT}"


async def play(
    engine: str,
    fault: Fault,
    seed: int,
    rounds: int,
    folder: Path,
    tasks_of_a_round: int = TASKS,
) -> Report:
    """A run, to its end, and what it has shown."""
    began = time.monotonic()
    with ExitStack() as stack:
        server = server_for(engine, fault)
        proxies: list[Proxy] = []
        if server is not None:
            stack.enter_context(running(server))
            for _ in range(2 * fault.proxied):
                proxies += [stack.enter_context(Proxy(server.port))]
        async with (
            open_fleet(
                folder, lease=LEASE, url=_url(server, folder), patience=60.0 + 25.0 * rounds
            ) as fleet,
            trio.open_nursery() as nursery,
        ):
            fleet.tick = TICK
            course = Course(seed, rounds, tasks_of_a_round, fleet, server, proxies, nursery)
            await course.start()
            await course.befall(fault)
            await fleet.journal.until(lambda: bool(fleet.journal.counts["enqueued"]))
            async with actorq.open_system(fleet.client(), role="client") as sys:
                results = await course.results(sys)
                course.over = True
                await course.find_the_deaf(sys)
                with trio.CancelScope(shield=True):
                    await fleet.stop("scheduler")
                    await fleet.stop("worker", "client")
                statistics = await sys.queue_statistics()
                nursery.cancel_scope.cancel(reason="all tasks have ended")
        if KEEP in os.environ:
            keep(course)
        judge = Judge(fleet, results, troubles=[*course.troubles, *starved(fleet)])
        judge.slack = SLACK
        verdict = judge.judge()
        verdict.wrong += course.seen
        verdict.wrong += [
            f"a waiter heard: {each.words}"
            for each in fleet.journal.said("missed")
            if not judge.unsaved(each.words[0])
        ]
        verdict.wrong += [
            f"who waits for {task_id} hears {error}"
            for task_id, error in course.unheard.items()
            if not judge.unsaved(task_id)
        ]
        left = {
            place: getattr(statistics, place)
            for place in ("scheduled", "ready", "leased")
            if getattr(statistics, place)
        }
        if left and not course.has_scheduler:
            verdict.wrong.append(f"all have ended, but of tasks there are {left}")
        if course.has_scheduler:
            verdict.wrong += missing_slots(judge.runs, TICK)
        if fault.harmless and verdict.again and not starved(fleet):
            verdict.wrong.append(f"{verdict.again} ran again, though no lease was lost")
        healing = course.healing()
        verdict.wrong += [
            f"{each:.1f} s from the end of a fault to the next start of a task"
            for each in healing
            if each > HEALED
        ]
        if verdict.complaints and fleet.log.exists():
            verdict.wrong.append(
                f"on stderr:\n{_tail(fleet.log)}{server.tail(40) if server else ''}"
            )
        return Report(
            verdict,
            refused=statistics.refused,
            faults=course.faults,
            starved=len(starved(fleet)),
            unsure=fleet.journal.counts["unsure"],
            healing=healing,
            seconds=time.monotonic() - began,
        )
