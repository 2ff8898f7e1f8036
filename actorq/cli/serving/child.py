"""One process of `actorq worker`: imports the broker's module, opens a system, runs until it is told.

SIGTERM: take nothing more, let running tasks finish within the grace, end.  SIGINT: the same without
the grace.  The end of the socket to the parent is a SIGTERM too, and a kill if that takes too long:
nobody else would see to it.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import trio

from actorq.actors.broker import Broker
from actorq.cli import exits
from actorq.cli.client import causes_of, check_shared
from actorq.cli.finding import find_broker, import_module
from actorq.cli.output import CommandError, complain
from actorq.cli.serving.limits import CountJobs, in_words, resident, watch_memory
from actorq.cli.serving.orders import BEAT, LAST_WORDS, PATIENCE, STALL, News, Orders
from actorq.errors import ActorqError, EngineUnavailable
from actorq.middlewares import Watchdog
from actorq.system import System, open_system
from actorq.whereabouts import sits_at, tasks_below


log = logging.getLogger("actorq.cli.worker")


class _ToldToEnd(BaseException):
    """A signal has come before there is a child."""


class Child:
    """This process."""

    def __init__(self, orders: Orders, link: socket.socket) -> None:
        self._orders = orders
        self._link = link
        self._opening = trio.CancelScope()
        self._leave = trio.Event()
        self._hurry = trio.Event()
        self.told = False  #: a signal came before Trio heard them
        self._system: System | None = None

    async def serve(self, broker: Broker) -> None:
        """Be what the orders say, until a signal comes or a limit is reached."""
        orders = self._orders
        shared = _options_of_workers(orders) if orders.role == "worker" else {}
        if orders.max_jobs is not None:
            broker.with_middlewares(CountJobs(orders.max_jobs, self.leave))
        if not any(isinstance(each, Watchdog) for each in broker.middlewares):
            broker.with_middlewares(Watchdog(STALL))
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:
            await nursery.start(self._obey)
            nursery.start_soon(self._give_up_opening)
            nursery.start_soon(self._tell_who_holds_up, trio.lowlevel.current_task())
            try:
                with self._opening:
                    await self._serve(broker, shared, nursery)
            except Exception as error:  # noqa: BLE001 - raised below, not in a group
                failure = error
            nursery.cancel_scope.cancel("the system is closed")
        if failure is not None:
            raise failure

    async def _serve(self, broker: Broker, shared: dict[str, Any], nursery: trio.Nursery) -> None:
        grace = self._orders.grace
        async with open_system(
            broker,
            role=self._orders.role,
            grace=grace,
            shutdown_timeout=grace + LAST_WORDS,
            **shared,
        ) as self._system:
            if not self._leave.is_set():
                self._begin(nursery)
            await self._leave.wait()
            if self._hurry.is_set():
                self._system.hurry()

    def _begin(self, nursery: trio.Nursery) -> None:
        limit = self._orders.max_memory
        if limit is not None:
            size = resident()
            if size >= limit:
                raise CommandError(
                    f"--max-memory {in_words(limit)} is less than a process takes that has run "
                    f"nothing yet: {in_words(size)}",
                    exit_code=exits.USAGE,
                )
            nursery.start_soon(watch_memory, limit, self.leave)
        self._tell(News("ready"))
        if self._orders.max_silence:
            nursery.start_soon(self._beat, min(BEAT, self._orders.max_silence / 4))

    async def _beat(self, pause: float) -> None:
        """Show the parent that the event loop goes on."""
        beat = News("alive").line()
        while True:
            with suppress(OSError):  # a parent that is stopped has heard enough of it
                self._link.send(beat, socket.MSG_DONTWAIT)
            await trio.sleep(pause)

    def leave(self, why: str) -> None:
        """End in order, because a limit is reached: the parent may start a successor."""
        if not self._leave.is_set():
            self._tell(News("leaving", why))
            self._leave.set()

    def _tell(self, news: News) -> None:
        try:
            self._link.sendall(news.line())
        except OSError:
            log.debug("the parent does not hear %s", news)

    async def _obey(self, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            if self.told:
                self._end()
            task_status.started()
            async for number in signals:
                self._end()
                if number == signal.SIGINT:
                    self._hurry.set()
                    if self._system is not None:
                        self._system.hurry()

    async def _give_up_opening(self) -> None:
        """What waits for a file's lock cannot be cancelled, and nothing is held yet."""
        await self._leave.wait()
        if self._system is None:
            await trio.sleep(LAST_WORDS)
            if self._system is None:
                os._exit(exits.OK)

    async def _tell_who_holds_up(self, main: trio.lowlevel.Task) -> None:
        """Shortly before the parent loses its patience: what is it that does not end?"""
        await self._leave.wait()
        with trio.move_on_after(self._orders.grace):
            await self._hurry.wait()
        await trio.sleep(LAST_WORDS + 1)
        if self._system is None:
            return
        for _, task in tasks_below(main):
            label = self._system.label(task)
            if label != task.name and not task.child_nurseries:
                log.warning("%s does not let itself be cancelled: %s", label, sits_at(task))

    def _end(self) -> None:
        self._leave.set()
        if self._system is None:
            self._opening.cancel("told to end while it began")


def _options_of_workers(orders: Orders) -> dict[str, Any]:
    return {"concurrency": orders.concurrency, "queues": orders.queues}


def find(orders: Orders) -> Broker:
    """Import what the orders name."""
    broker = find_broker(orders.broker)
    for module in orders.modules:
        import_module(module, "--import")
    check_shared(broker)
    return broker


def configure_logging(orders: Orders) -> None:
    """To stderr with this process's name, unless the user's module has seen to it."""
    if logging.getLogger().handlers:
        return
    form = f"%(asctime)s {orders.name} %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=orders.log_level, format=form)


def _watch_parent(link: socket.socket, patience: float) -> None:
    """In a thread: the event loop may be what does not hear."""
    try:
        while link.recv(4096):
            pass
    except OSError:
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    with suppress(OSError):  # who read our log may have died with it
        sys.stderr.write("the parent process has died; ending\n")
    time.sleep(patience)
    os.kill(0, signal.SIGKILL)  # its group, which is its own: what tasks have started goes with it


def main() -> int:
    """Run as `python -m actorq.cli.serving.child FILE-DESCRIPTOR ...`."""
    child: Child | None = None

    def note(*_: object) -> None:
        if child is None:
            raise _ToldToEnd  # it imports, and holds nothing
        child.told = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, note)
    link = socket.socket(fileno=int(sys.argv[1]))
    link.set_inheritable(False)  # who a task starts must not keep it open
    orders = Orders.read(_first_line(link.recv))
    patience = orders.grace + PATIENCE
    threading.Thread(target=_watch_parent, args=(link, patience), daemon=True).start()
    try:
        broker = find(orders)
        configure_logging(orders)
        if orders.role == "worker" and not list(broker.tasks):
            log.warning("%s knows no task: --import the modules that have them", orders.broker)
        child = Child(orders, link)
        trio.run(child.serve, broker)
    except _ToldToEnd:
        return exits.OK
    except CommandError as error:
        error.show()
        return error.exit_code
    except (ActorqError, ExceptionGroup) as failed:
        return _tell(orders.name, failed)
    return exits.OK


def _tell(name: str, failed: ActorqError | ExceptionGroup[Exception]) -> int:
    """Why this process cannot go on; the exit code."""
    causes = list(causes_of(failed))
    for cause in causes:
        if isinstance(cause, EngineUnavailable):
            complain(f"{name}: {cause}")
            return exits.UNAVAILABLE
    if not isinstance(failed, ActorqError):
        raise failed  # the user's, with its traceback
    trace = "".join(traceback.format_exception(causes[-1])) if len(causes) > 1 else ""
    complain(f"{name}: {type(failed).__name__}: {failed}", detail=trace)
    return exits.FAILED


def _first_line(receive: Callable[[int], bytes]) -> bytes:
    told = b""
    while not told.endswith(b"\n"):
        more = receive(65536)
        if not more:
            sys.exit(exits.FAILED)  # the parent has died already
        told += more
    return told


if __name__ == "__main__":
    sys.exit(main())
