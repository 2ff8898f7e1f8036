"""The result backend whose results are kept on a server, for every process that reaches it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice
from typing import Any, Final

import attrs

from actorq.actors.result_backend import News, ResultBackend
from actorq.engines.remote.acts import Act, Reply, Topic
from actorq.engines.remote.storage import RemoteStorage
from actorq.engines.stored_result import (
    A_WEEK,
    Eviction,
    Keeping,
    Told,
    check_keeping,
    row_of,
    why,
)
from actorq.errors import EnvelopeError, ResultGetError, StaleResult
from actorq.progress import TaskProgress
from actorq.protocol import Outcome
from actorq.result import TaskResult


TOPICS: Final[tuple[Topic, ...]] = ("results",)
#: Ids that were said and not looked at yet, at most; of more, all are looked at.
TOUCHED_KEPT: Final = 10_000


class RemoteResultBackend(ResultBackend):
    """What the result backends of servers have in common; an engine's own makes the storage.

    Who waits in any process is woken as soon as a result is stored; should that word be lost, within
    the storage's `recheck`.  Of a task's progress the latest is kept: readers in other processes may
    miss what came before it.
    """

    keeps_terms = True

    def __init__(
        self,
        storage: RemoteStorage,
        *,
        ttl: float | None = A_WEEK,
        max_stored_results: int | None = None,
    ) -> None:
        check_keeping(ttl, max_stored_results)
        self.storage = storage
        # a server's JSON knows no infinity
        self.keeping = Keeping(None if ttl == math.inf else ttl, max_stored_results)
        self._eviction = Eviction(max_stored_results)
        self._forgotten: tuple[int, int] | None = None  #: at the first look, and at the last
        self._touched: set[str] | None = None  #: since the last look; None: any may have been
        #: Tasks that were sent from here lately, and of which nothing has been said since.
        self._expected: dict[str, None] = {}
        self._reading: frozenset[str] = frozenset()  #: whose progress the last look was for
        self._told = Told()

    async def startup(self) -> None:
        """Connect, unless another part has."""
        await self.storage.open()
        self._touched, self._reading = None, frozenset()
        self._expected.clear()

    async def shutdown(self) -> None:
        """Disconnect, unless another part uses it."""
        await self.storage.close()

    async def _call(self, acts: list[Act], *, writes: bool = True) -> Reply:
        request = self.storage.request(acts, writes=writes)
        return await self._send(request)

    async def _send(self, request: Any) -> Reply:
        clock = self._wiring.clock
        if not getattr(clock, "steady_offset", 0.0):  # time is not the machine's
            request.now = clock()
        request.ttl = self.keeping.ttl
        return await self.storage.call(request, "results")

    # --- results ---

    def limit_now(self, stored: int) -> int | None:
        """After *stored* results more: how many may be kept, now and then."""
        return self._eviction.after(stored)

    async def set_result(self, task_id: str, result: TaskResult[Any]) -> None:
        """Store one result; raises `StaleResult` if a later attempt's is stored, or runs."""
        (verdict,) = await self.set_results([Outcome(task_id, result)])
        if verdict is not None:
            raise verdict

    async def set_results(self, outcomes: Sequence[Outcome]) -> Sequence[Exception | None]:
        """Store these in one step, each with its own verdict."""
        verdicts: list[Exception | None] = [None] * len(outcomes)
        request = self.storage.request()
        rows: list[list[Any]] = []
        asked: list[int] = []
        for number, outcome in enumerate(outcomes):
            try:
                task_id, attempt, ttl, data, lost = row_of(outcome, self.wire)
            except Exception as error:  # noqa: BLE001 - its own verdict
                verdicts[number] = error
            else:
                rows.append([task_id, attempt, ttl, request.put(data), lost])
                asked.append(number)
        if not rows:
            return verdicts
        request.acts.append(["set_results", rows])
        self.note_told([row[0] for row in rows])
        request.limit = self.limit_now(len(rows))
        reply = await self._send(request)
        for number, row, answer in zip(asked, rows, reply.answers[0], strict=True):
            if answer is not None:
                later = "a later one's is stored" if answer == "stored" else "a later one runs"
                verdicts[number] = StaleResult(f"attempt {row[1]} of {row[0]!r} is stale: {later}")
        return verdicts

    async def get_result(self, task_id: str, with_logs: bool = True) -> TaskResult[Any]:
        """The stored result; raises `ResultGetError` if there is none."""
        reply, found = await self._look([task_id])
        if not found["results"]:
            raise ResultGetError(f"there is no result of task {task_id!r} (yet)")
        result = self.wire.decode_result(reply.take(found["results"][0][1]), task_id)
        return result if with_logs or result.log is None else attrs.evolve(result, log=None)

    async def is_result_ready(self, task_id: str) -> bool:
        """Whether a result is stored, and its time is not over."""
        return bool((await self._look([task_id]))[1]["results"])

    async def delete_result(self, task_id: str) -> None:
        """Forget a result and its progress."""
        self.note_told([task_id])
        await self._call([["delete_results", [task_id]]])
        self._told.forget(task_id)

    async def why_gone(self, task_id: str) -> str | None:
        """Why there is no result, if it was there once, or was given up."""
        gone = (await self._look([task_id]))[1]["gone"]
        return why(*gone[0]) if gone else None

    def may_have_forgotten(self) -> bool:
        """True once notes of what is gone were dropped, since this object began to look."""
        return self._forgotten is not None and self._forgotten[1] > self._forgotten[0]

    async def give_up(self, task_id: str, error: Exception) -> None:
        """No result of this task will come: who waits for it in any process is told."""
        text = str(error)
        if not isinstance(error, ResultGetError):
            text = f"the result of task {task_id!r} could not be stored: {text}"
        self.note_told([task_id])
        await self._call([["give_up", task_id, text]])

    async def _look(self, task_ids: Collection[str]) -> tuple[Reply, dict[str, Any]]:
        reply = await self._call([["get_results", list(task_ids)], ["forgotten"]], writes=False)
        self._note_forgotten(int(reply.answers[1]))
        return reply, reply.answers[0]

    def _note_forgotten(self, forgotten: int) -> None:
        first = forgotten if self._forgotten is None else self._forgotten[0]
        self._forgotten = (first, forgotten)

    # --- what is new ---

    def expect(self, task_ids: Collection[str]) -> None:
        """These are about to be enqueued, under new ids: from now on a result of theirs is heard of."""
        expected = self._expected
        expected.update(dict.fromkeys(task_ids))
        # many at once: the first of a dict is looked for behind all that were taken out before it
        if len(expected) > TOUCHED_KEPT + TOUCHED_KEPT // 4:
            for old in list(islice(expected, len(expected) - TOUCHED_KEPT)):
                del expected[old]

    def note_told(self, task_ids: Iterable[str]) -> None:
        """Something of these may be there now."""
        if self._expected:
            for each in task_ids:
                self._expected.pop(each, None)

    async def listen(self, changed: Callable[[], None]) -> None:
        """Hear of what other parts and other processes store."""

        def heard(_: Topic | None, ids: Collection[str] | None) -> None:
            # kept even if nobody waits for them here: somebody may be about to
            if ids is None:
                self._touched = None
                self._expected.clear()  # something may have been missed
            else:
                self.note_told(ids)
                if self._touched is not None:
                    self._touched.update(ids)
                    if len(self._touched) > TOUCHED_KEPT:
                        self._touched = None
            changed()

        await self.storage.listen(TOPICS, heard)

    async def look_up(self, task_ids: Collection[str]) -> News:
        """All of them in one look; without one if nothing can be there yet: a call less a task."""
        if task_ids and all(each in self._expected for each in task_ids):
            return News([])
        return self._news(*await self._look(task_ids))

    async def news(self, awaited: Collection[str], read: Collection[str]) -> News:
        """What is new of these, by the ids that were said since the last look."""
        touched, self._touched = self._touched, set()
        carried = self.storage.take_carried()
        reading = frozenset(read)
        wanted = _among({*awaited, *reading}, touched)
        progress = _among(reading, touched) | (reading - self._reading)
        if not wanted and not progress:
            self._reading = reading
            return News([])
        if touched is not None and not reading and wanted <= carried.keys():
            came = [(each, carried[each]) for each in wanted]
            return self._news(_NO_CALL, {"results": came, "gone": ()})
        acts: list[Act] = [["get_results", list(wanted)], ["forgotten"]]
        if progress:
            acts.append(["get_progress", list(progress)])
        try:
            reply = await self._call(acts, writes=False)
        except BaseException:
            self._touched = None
            raise
        self._reading = reading
        self._note_forgotten(int(reply.answers[1]))
        updates = reply.answers[2] if progress else ()
        return attrs.evolve(
            self._news(reply, reply.answers[0]),
            progress=[
                (task_id, self.wire.decode_progress(reply.take(blob), task_id))
                for number, task_id, blob in updates
                if self._told.is_new(task_id, int(number))
            ],
        )

    def _news(self, reply: Reply, found: dict[str, Any]) -> News:
        results: list[tuple[str, TaskResult[Any]]] = []
        gone: list[tuple[str, Exception]] = [
            (task_id, ResultGetError(why(task_id, noted))) for task_id, noted in found["gone"]
        ]
        for task_id, blob in found["results"]:
            try:
                results.append((task_id, self.wire.decode_result(reply.take(blob), task_id)))
            except EnvelopeError as error:
                gone.append((task_id, ResultGetError(f"{error}")))
        return News(results, given_up=gone)

    # --- progress ---

    async def take_progress(self, task_id: str, progress: TaskProgress, attempt: int) -> None:
        """Store the latest progress; raises `StaleResult` if a later attempt has begun, or ended."""
        request = self.storage.request()
        data = request.put(self.wire.encode_progress(task_id, progress))
        request.acts.append(["set_progress", task_id, attempt, data])
        (number,) = (await self._send(request)).answers
        if number is None:
            raise StaleResult(f"progress of attempt {attempt} of {task_id!r} is stale")
        self._told.is_new(task_id, int(number))

    async def get_progress(self, task_id: str) -> TaskProgress | None:
        """The latest progress, if there is any."""
        reply = await self._call([["get_progress", [task_id]]], writes=False)
        for _, _, blob in reply.answers[0]:
            return self.wire.decode_progress(reply.take(blob), task_id)
        return None

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.storage}>"


_NO_CALL: Final = Reply([], 0.0, "")


def _among(ids: Collection[str], touched: set[str] | None) -> set[str]:
    return set(ids) if touched is None else touched.intersection(ids)
