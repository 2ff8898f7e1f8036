"""The watchdog: a thread that notices when the event loop stands still, and says on which line.

While the loop is busy the thread pings it every quarter of the threshold and waits for the answer, so
that no task pays for it.  While the loop is idle the thread waits too, without a timer: an instrument
that is armed by the answer wakes it when the loop begins to do something, and is taken out by that.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

import attrs
import trio

from actorq.job import current_slot
from actorq.middleware import Middleware
from actorq.options import seconds


log = logging.getLogger("actorq.watchdog")

_ACTIVE: Final = "active"
_STOP: Final = "stop"
#: Code that is nobody's own: a blocking line in it is named by the line that called it.
_NOT_OURS: Final = tuple(
    os.path.join(path, "")
    for path in {
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
    }
)


@attrs.frozen
class Stall:
    """The event loop stands still, in one step of one task."""

    seconds: float  #: for how long, so far
    label: str  #: the job in whose step it stands still, or the name of the Trio task
    task_id: str | None  #: of that job
    task_name: str | None
    line: str  #: `function (file:line)`, the innermost that is neither a library's nor actorq's
    stack: str  #: from the task's function down to the innermost line


class Watchdog(Middleware):
    """Logs a warning when one step of the event loop takes longer than *threshold* seconds.

    A function that computes, or waits without `await`, holds up every task of its event loop, and in
    the end the renewal of the worker's lease.  The warning comes while it does, from the logger
    `actorq.watchdog`, with the job's id and name, the line, and the stack; another one tells at the end
    how long it took.

    What takes *threshold* seconds is reported; what takes less than three quarters of it is not.
    *on_stall* is called with a `Stall` as well, in the watchdog's thread.
    """

    def __init__(
        self,
        threshold: float = 1.0,
        *,
        on_stall: Callable[[Stall], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.threshold = seconds("threshold", threshold)
        if not self.threshold:
            raise ValueError("Watchdog() expects a threshold > 0 seconds; got 0")
        self._on_stall = on_stall
        self._clock = clock
        self._watch: Watch | None = None

    def startup(self) -> None:
        """Begin to watch the loop that runs here."""
        self._watch = Watch(self.threshold, self._clock, self._blocked)
        self._watch.start()

    def shutdown(self) -> None:
        """End the thread."""
        if self._watch is not None:
            self._watch.stop()
            self._watch = None

    def _blocked(self, task: trio.lowlevel.Task, frame: FrameType, lasting: float) -> Stall:
        slot = task.context.get(current_slot)
        job = None if slot is None else slot.job  # read once: the loop may go on at any moment
        message = None if job is None else job.message
        stall = Stall(
            lasting,
            self.system.label(task),
            None if message is None else message.task_id,
            None if message is None else message.task_name,
            *_where(frame, task.coro.cr_frame),
        )
        if self._on_stall is not None:
            try:
                self._on_stall(stall)
            except Exception:
                log.exception("on_stall raised; the watchdog goes on")
        return stall


class Watch:
    """The thread, and what it has to do with the loop.

    Its life is one circle: rest until the loop is active, let a quarter of the threshold pass, ping,
    wait for the answer.  All that it hears comes through one queue.
    """

    def __init__(
        self,
        threshold: float,
        clock: Callable[[], float],
        blocked: Callable[[trio.lowlevel.Task, FrameType, float], Stall],
    ) -> None:
        self.threshold = threshold
        self.pings = 0
        self._clock = clock
        self._blocked = blocked
        self._heard: queue.SimpleQueue[str | float] = queue.SimpleQueue()
        self._waker = Waker(self._heard)
        self._token = trio.lowlevel.current_trio_token()
        self._root = trio.lowlevel.current_root_task()
        self._loop_thread = threading.get_ident()
        self._thread = threading.Thread(target=self._run, name="actorq watchdog", daemon=True)

    def start(self) -> None:
        """Watch the loop in which this is called."""
        self._waker.arm()
        self._thread.start()

    def stop(self) -> None:
        """End the thread.  In the loop; waits for it a moment, no longer."""
        self._waker.retire()
        self._heard.put(_STOP)
        self._thread.join(1.0)

    # --- in the thread ---

    def _hear(self, timeout: float | None = None) -> str | float | None:
        try:
            return self._heard.get(timeout=timeout)
        except queue.Empty:
            return None

    def _run(self) -> None:
        while self._hear() != _STOP:
            if self._hear(self.threshold / 4) == _STOP:
                return
            self.pings += 1
            sent = self._clock()
            try:
                self._token.run_sync_soon(self._answer)
            except trio.RunFinishedError:
                return
            stall: Stall | None = None
            answered = self._hear(self.threshold * 3 / 4)
            while answered is None:  # until a step of some task is seen to last
                stall = self._look(self._clock() - sent)
                answered = self._hear(None if stall else self.threshold / 4)
            if not isinstance(answered, float):
                return
            self._tell_the_end(stall, answered - sent)

    def _look(self, lasting: float) -> Stall | None:
        """Find out what the loop is doing, and say it."""
        task = running_task(self._root)
        frame = sys._current_frames().get(self._loop_thread)
        if task is None or frame is None:
            return None  # between two steps: it will answer
        stall = self._blocked(task, frame, lasting)
        log.warning(
            "the event loop has stood still for %.2f s in %s, at %s\n%s",
            *(stall.seconds, stall.label, stall.line, stall.stack),
            extra={"task_id": stall.task_id, "task_name": stall.task_name},
        )
        return stall

    def _tell_the_end(self, stall: Stall | None, lasted: float) -> None:
        if stall is not None:
            log.warning(
                "the event loop goes on; it stood still for %.2f s in %s",
                *(lasted, stall.label),
                extra={"task_id": stall.task_id, "task_name": stall.task_name},
            )
        elif lasted >= self.threshold:
            log.warning(
                "the event loop stood still for %.2f s; where, could not be seen: the whole process "
                "was stopped, or a C function held the interpreter's lock",
                lasted,
            )

    # --- in the loop ---

    def _answer(self) -> None:
        self._heard.put(self._clock())
        self._waker.arm()


class Waker(trio.abc.Instrument):
    """Says once that the loop is active, then is gone until it is armed again."""

    def __init__(self, heard: queue.SimpleQueue[str | float]) -> None:
        self._heard = heard
        self._armed = False
        self._retired = False

    def arm(self) -> None:
        """Tell of the next activity."""
        if not self._armed and not self._retired:
            self._armed = True
            trio.lowlevel.add_instrument(self)

    def retire(self) -> None:
        """Never again."""
        self._retired = True
        self._take_out()

    def after_io_wait(self, timeout: float) -> None:
        """The loop has something to do."""
        self._take_out()
        self._heard.put(_ACTIVE)

    def _take_out(self) -> None:
        if self._armed:
            self._armed = False
            trio.lowlevel.remove_instrument(self)


def running_task(root: trio.lowlevel.Task | None) -> trio.lowlevel.Task | None:
    """The task below *root* whose step is going on, as seen from another thread; None between steps."""
    tasks = [] if root is None else [root]
    while tasks:
        task = tasks.pop()
        if getattr(task.coro, "cr_running", False):
            return task
        for nursery in task.child_nurseries:  # both are copies, made without a switch of threads
            tasks.extend(nursery.child_tasks)
    return None


def _where(innermost: FrameType, outermost: FrameType | None) -> tuple[str, str]:
    """The line that counts, and the stack between the two frames."""
    frames = list(_frames_between(innermost, outermost))
    while len(frames) > 1 and frames[-1].f_code.co_filename.startswith(_NOT_OURS):
        frames.pop()  # how actorq called it
    own = [each for each in frames if not each.f_code.co_filename.startswith(_NOT_OURS)]
    chosen = (own or frames)[0]
    line = f"{chosen.f_code.co_qualname} ({chosen.f_code.co_filename}:{chosen.f_lineno})"
    summary = traceback.StackSummary.extract(
        ((frame, frame.f_lineno) for frame in reversed(frames)), lookup_lines=True
    )
    return line, "".join(summary.format()).rstrip()


def _frames_between(innermost: FrameType, outermost: FrameType | None) -> Iterator[FrameType]:
    frame: FrameType | None = innermost
    while frame is not None:
        yield frame
        if frame is outermost:
            return
        frame = frame.f_back
