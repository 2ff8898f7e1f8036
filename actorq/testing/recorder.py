"""The recorder: listens to a simulation and fills its trace.

It changes nothing of what the program does, and takes no step of its own.  In production there is
none, and then it costs nothing: it hears actors by their tap, answers by giving a reply another class
of the same layout, jobs and timers by wrapping methods of the one object that it was told of.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import trio

from actorq.actors.worker_pool import WorkerPool
from actorq.cell import Cell, running_cell
from actorq.dead_letters import DeadLetter, DeadLetters, LetterReason
from actorq.job import Job, current_slot
from actorq.mailbox import Envelope
from actorq.protocol import Batch, Ending
from actorq.reply import Reply
from actorq.reply import _State as State
from actorq.signals import TimerFired
from actorq.tap import Tap
from actorq.testing.brief import brief_error, cut, name_of_call
from actorq.testing.trace import NOTHING, ROUTINE, Kind, Trace
from actorq.timers import VOID


if TYPE_CHECKING:
    from actorq.actor import Actor
    from actorq.incarnation import Incarnation

#: The simulated process in which this code runs; empty: there is but one.
current_process: ContextVar[str] = ContextVar("actorq_process", default="")


class TracedReply(Reply[Any]):
    """A reply that somebody listens to.

    Until it is settled, its content is the recorder, who asked whom, and what.
    """

    __slots__ = ()

    @trio.lowlevel.enable_ki_protection
    def _settle(self, state: Any, content: Any) -> bool:
        if self._state is not _PENDING:
            return Reply._settle(self, state, content)
        recorder, asker, target, message = self._content
        if state is _ERROR:  # in words at once: to keep an error is to keep its frames
            word = f"{type(message).__name__} ✗ {brief_error(content)}"
            recorder.add(Kind.FAILED, target, asker, word, NOTHING, message)
        else:
            recorder.add(Kind.ANSWERED, target, asker, "", content, message)
        if self._then is None:
            return Reply._settle(self, state, content)
        recorder.spokesman = asker  # what is called now runs in the answerer's step
        try:
            return Reply._settle(self, state, content)
        finally:
            recorder.spokesman = ""

    async def _wait(self) -> Any:
        try:
            return await super()._wait()
        except trio.Cancelled:
            # told when its task runs: Trio cancels those of a scope in no order
            recorder, asker, target, message = self._content
            word = f"is cancelled, and no longer waits for {target} ({type(message).__name__})"
            recorder.add(Kind.GAVE_UP, asker, "", word, NOTHING, message)
            raise


_PENDING, _ERROR = State.PENDING, State.ERROR
_SENT, _HANDLES = Kind.SENT, Kind.HANDLES


class Recorder(Tap):
    """Fills one trace."""

    def __init__(self, trace: Trace, now: Callable[[], float]) -> None:
        self.trace = trace
        self.also: list[Trace] = []  #: others that want to be filled from now on
        self._now = now
        self._append = trace._kept.append
        # by id and weak, which is a third of what a WeakKeyDictionary takes
        self._names: dict[int, tuple[weakref.ref[Any], str]] = {}
        self._calls: dict[str, str] = {}  #: names of jobs, by task id
        self._letters: weakref.WeakSet[DeadLetters] = weakref.WeakSet()
        self._crashed: set[str] = set()  #: actors of whose crash the trace has told already
        self.spokesman = ""  #: in whose name the code runs that runs now, if not in its task's
        self._taken: dict[str, int] = {}  #: names given so far, and how often

    def add(
        self,
        kind: Kind,
        source: str,
        target: str = "",
        word: str = "",
        about: Any = NOTHING,
        message: Any = None,
    ) -> None:
        """Put an event at the end."""
        raw = (self._now(), kind, source, target, word, about, message)
        self.trace.total += 1
        self._append(raw)
        if self.also:
            for trace in self.also:
                trace.total += 1
                trace._kept.append(raw)

    @property
    def hears_routine(self) -> bool:
        """Whether anybody wants to see that too."""
        return self.trace.routine or bool(self.also)

    # --- names ---

    def name_task(self, task: trio.lowlevel.Task, name: str) -> None:
        """Call *task* so."""
        self._names[id(task)] = (weakref.ref(task), self._own(name))

    def who(self) -> str:
        """In whose name this code runs."""
        if self.spokesman:
            return self.spokesman
        slot = current_slot.get()
        if slot is not None and slot.job is not None:
            return self.name_of_job(slot.job, current_process.get())
        cell = running_cell.get()
        if cell is not None:
            return self.name_of_actor(cell)
        try:
            return self.name_of_task(trio.lowlevel.current_task())
        except RuntimeError:
            return "trio"  # a callback of the loop's

    def name_of_job(self, job: Job, process: str) -> str:
        """Its task's name, and the call's id."""
        message = job.message
        name = self._calls.get(message.task_id)
        if name is None:
            name = self._calls[message.task_id] = name_of_call(message)
        return f"{process}/{name}" if process else name

    def name_of_actor(self, cell: Cell) -> str:
        """An actor's name, with its process, and a number if another had it before."""
        known = self._names.get(id(cell))
        if known is not None and known[0]() is cell:
            return known[1]
        name = self._own(_within(current_process.get(), cell.name))
        self._names[id(cell)] = (weakref.ref(cell), name)
        return name

    def name_of_task(self, task: trio.lowlevel.Task) -> str:
        """What a task is called that belongs to no actor."""
        known = self._names.get(id(task))
        if known is not None and known[0]() is task:
            return known[1]
        process = task.context.get(current_process, "")
        short = cut(task.name.rpartition(".")[2], 24)
        if short.startswith("<"):  # pytest-trio's: <test 'test_x'>
            short = short.strip("<>").replace("test '", "").replace("'", "")
        name = self._own(short if short == process else _within(process, short))
        self._names[id(task)] = (weakref.ref(task), name)
        return name

    def name_of(self, task: trio.lowlevel.Task) -> str:
        """What any task is called: as the actor whose loop it is, as the job that it runs."""
        slot = task.context.get(current_slot)
        if slot is not None and slot.job is not None:
            return self.name_of_job(slot.job, task.context.get(current_process, ""))
        cell = task.context.get(running_cell)
        if cell is not None and cell.loop_task is task:
            return self.name_of_actor(cell)
        return self.name_of_task(task)

    def _own(self, name: str) -> str:
        times = self._taken[name] = self._taken.get(name, 0) + 1
        return name if times == 1 else f"{name} ({times})"

    # --- what is heard ---

    def note(self, text: str, who: str = "") -> None:
        """Put a line of one's own into the trace: what a test, or a fault, has just done to *who*."""
        self.add(Kind.NOTED, who or self.who(), word=text)

    def born(self, cell: Cell, actor: Actor[Any]) -> None:
        """A life begins."""
        name = self.name_of_actor(cell)
        again = f"starts again, life {cell.restarts + 1}" if cell.restarts else "starts"
        self.add(Kind.BEGAN, name, word=again)
        self._listen_to_life(name, actor._alive)
        self._listen_to_letters(cell)
        if isinstance(actor, WorkerPool):
            self._listen_to_pool(name, actor)

    def takes(self, cell: Cell, item: Any) -> bool:
        """Something is sent."""
        is_ask = type(item) is Envelope
        message = item.message if is_ask else item
        if type(message) in ROUTINE and not self.hears_routine:
            self.trace.left_out = True
            return False
        source, target = self.who(), self.name_of_actor(cell)
        if is_ask and type(item.reply) is Reply:
            item.reply.__class__ = TracedReply
            item.reply._content = (self, source, target, message)
        self.add(_SENT, source, target, "", message, message)
        return False

    def handling(self, cell: Cell, message: Any) -> None:
        """A handler is about to begin."""
        if type(message) in ROUTINE and not self.hears_routine:
            return
        self.add(_HANDLES, self.name_of_actor(cell), "", "handles", message, message)

    def died(self, cell: Cell, error: BaseException | None) -> None:
        """A life has ended."""
        name = self.name_of_actor(cell)
        if error is None:
            self.add(Kind.ENDED, name, word="stopped")
        elif name not in self._crashed:
            self.add(Kind.CRASHED, name, word=f"crashed: {brief_error(error)}")
        self._crashed.discard(name)

    def _listen_to_life(self, name: str, life: Incarnation) -> None:
        settle_current, take = life._settle_current, life.timers.take

        def on_settle_current(reason: LetterReason, crash: Exception | None) -> None:
            if reason is LetterReason.CRASHED and crash is not None:
                # before its asker hears of it
                self._crashed.add(name)
                self.add(Kind.CRASHED, name, word=f"crashed: {brief_error(crash)}")
            settle_current(reason, crash)

        def on_timer(fired: TimerFired) -> Any:
            message = take(fired)
            if message is not VOID and (self.hears_routine or type(message) not in ROUTINE):
                self.add(Kind.HANDLES, name, "", "timer:", message, message)
            return message

        life._settle_current = on_settle_current  # type: ignore[method-assign]
        life.timers.take = on_timer  # type: ignore[method-assign]

    def _listen_to_letters(self, cell: Cell) -> None:
        letters, process = cell.dead_letters, current_process.get()
        if letters not in self._letters:
            self._letters.add(letters)

            def on_letter(letter: DeadLetter) -> None:
                word = f"dead letter ({letter.reason.value}):"
                self.add(
                    Kind.CRASHED, _within(process, letter.actor), "", word, *[letter.message] * 2
                )

            letters.listen(on_letter)

    def _listen_to_pool(self, name: str, pool: WorkerPool) -> None:
        take, perform = pool.take, pool._runner.perform
        process = current_process.get()

        def on_batch(batch: Batch) -> None:
            self.add(Kind.SENT, self.who(), name, "", batch, batch)
            take(batch)

        async def on_job(job: Job, scope: trio.CancelScope) -> None:
            call = self.name_of_job(job, process)
            self.add(Kind.BEGAN, call, word=f"begins, attempt {job.fence.attempt}")
            try:
                await perform(job, scope)
            finally:
                self._job_ended(call, job)

        pool.take = on_batch  # type: ignore[method-assign]
        pool._runner.perform = on_job  # type: ignore[method-assign]

    def _job_ended(self, call: str, job: Job) -> None:
        if job.task is None:
            self.add(Kind.ENDED, call, word="parked: no worker here knows this task")
        elif job.lost:
            self.add(Kind.CRASHED, call, word="cancelled: its lease is lost")
        elif job.cancelled or sys.exc_info()[0] is not None:
            self.add(Kind.CRASHED, call, word="cancelled")
        elif job.requeue is not None:
            self.add(Kind.ENDED, call, word=f"puts itself back for {job.requeue:g} s")
        elif job.error is not None:
            self.add(Kind.CRASHED, call, word=f"raised {brief_error(job.error)}")
        elif job.settlement is not None and job.settlement.ending is Ending.GIVE_BACK:
            self.add(Kind.ENDED, call, word="is given back")
        else:
            self.add(Kind.ENDED, call, "", "returned", job.value)


def _within(process: str, name: str) -> str:
    return f"{process}/{name}" if process else name
