"""Settling: a worker's word on its deliveries; each whose fence is stale is refused (promise 34)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from actorq.engines.sent import Sent
from actorq.engines.sqlite.queue import early
from actorq.engines.sqlite.queue.accepting import follow
from actorq.engines.sqlite.queue.ends import (
    CANCELLED_BETWEEN,
    bury,
    end,
    end_unreported,
    remember,
    report,
    take_out,
)
from actorq.engines.sqlite.queue.entry import COLUMNS, Entry
from actorq.engines.sqlite.queue.moment import Moment, rows_of
from actorq.engines.sqlite.queue.sessions import give_back, make_ready, put
from actorq.engines.sqlite.queue.steps import break_off, go_on
from actorq.engines.sqlite.result_rows import store_row
from actorq.engines.stored_result import Keeping, Row
from actorq.errors import ActorqError, StaleResult, TaskCancelled
from actorq.message import Fence
from actorq.protocol import Ending
from actorq.remote_error import dump_error


class Word(NamedTuple):
    """A settlement on its way into the tables."""

    fence: Fence
    ending: Ending
    delay: float
    reason: str
    error: dict[str, Any] | None
    then: tuple[Sent, ...]
    early: bool
    result: Row | Exception | None  #: to be stored with it; or why it cannot be


_FIND: Final = (
    "select task_id, id, token, session, terms is not null or cancelled "
    "from actorq_tasks where task_id in ({})"
)


def settle(
    moment: Moment, session: int, words: Sequence[Word], keeping: Keeping | None
) -> tuple[bool | Exception, ...]:
    """Each is applied together with storing its result, or not at all: False, or why not."""
    found = {
        task_id: (row, token, special)
        for task_id, row, token, holder, special in rows_of(
            moment.connection, _FIND, [word.fence.task_id for word in words]
        )
        if holder == session
    }
    verdicts: list[bool | Exception] = []
    done: list[tuple[int, str]] = []  #: plain ones that have ended, and are to be taken out
    for word in words:
        fence = word.fence
        known = found.get(fence.task_id)
        if known is None or known[1] != fence.token:
            moment.marks.refused += 1
            verdicts.append(False)
            continue
        failure = _store_result(moment, word, keeping)
        if failure is not None:
            verdicts.append(failure)
            continue
        verdicts.append(True)
        del found[fence.task_id]
        if word.early and keeping is not None and word.ending is not Ending.RETRY:
            early.note(moment, session, known[0])
        if word.ending is Ending.DONE and not known[2] and not word.then:
            done.append((known[0], fence.task_id))
            continue
        _take_out(moment, done)
        _settle_one(moment, word, known[0])
    _take_out(moment, done)
    return tuple(verdicts)


def _store_result(moment: Moment, word: Word, keeping: Keeping | None) -> Exception | None:
    result = word.result
    if result is None or isinstance(result, Exception):
        return result
    assert keeping is not None
    try:
        store_row(moment.connection, result, moment.now, keeping)
    except StaleResult:
        return None  # an earlier run of this id came further: that stands, and this is over
    return None


def _take_out(moment: Moment, done: list[tuple[int, str]]) -> None:
    """Tasks without terms that nobody has cancelled: there is no more to their end than that."""
    if not done:
        return
    query = "delete from actorq_tasks where id = ?"
    moment.connection.executemany(query, [(row,) for row, _ in done])
    remember(moment, [task_id for _, task_id in done], Ending.DONE)
    moment.marks.done += len(done)
    done.clear()


def _settle_one(moment: Moment, word: Word, row: int) -> None:
    query = f"select {COLUMNS} from actorq_tasks where id = ?"
    entry = Entry(moment.execute(query, (row,)).fetchone())
    give_back(moment, entry)
    if entry.cancelled:
        moment.law.touch("ends")  # somebody waits for it, perhaps elsewhere
    ending = word.ending
    if ending is Ending.DONE or ending is Ending.CANCELLED:
        message = take_out(moment, entry)
        end(moment, entry, message, ending)
        if entry.bounds is not None and entry.bounds.chain:
            _go_on(moment, entry, message, word)
        elif word.then:
            follow(moment, word.then)
    elif ending is Ending.DEAD:
        bury(moment, entry, take_out(moment, entry), word.reason, word.error)
    elif ending is Ending.RETRY or ending is Ending.REQUEUE:
        _try_again(moment, entry, word)
    else:
        entry.attempt -= 1  # it does not count
        if entry.cancelled:
            _end_cancelled(moment, entry)
        else:
            park = ending is Ending.PARK
            make_ready(moment, entry, park=park)
            moment.marks.parked += park
            moment.law.touch("tasks")


def _try_again(moment: Moment, entry: Entry, word: Word) -> None:
    if word.ending is Ending.RETRY:
        entry.failures += 1
    else:
        entry.requeues += 1
    if entry.cancelled:
        _end_cancelled(moment, entry)
        return
    if word.delay > 0 and not entry.has_expired(moment.now):
        entry.number = moment.next_number()
        put(moment, entry, "scheduled", due=moment.now + word.delay)
    else:
        if word.ending is Ending.REQUEUE:  # or it would take its own turn again
            entry.number = moment.next_number()
        make_ready(moment, entry)
    moment.law.touch("tasks")


def _end_cancelled(moment: Moment, entry: Entry) -> None:
    error = TaskCancelled(CANCELLED_BETWEEN)
    end_unreported(moment, entry, take_out(moment, entry), error, Ending.CANCELLED)


def _go_on(moment: Moment, entry: Entry, message: bytes | str, word: Word) -> None:
    """A step of a chain has ended: its successor is accepted now, or never."""
    if word.ending is not Ending.DONE:
        return
    if not go_on(moment, entry):
        break_off(moment, entry, message, Ending.CANCELLED, None)
    elif word.then:
        follow(moment, word.then)
    else:
        error = ActorqError("its worker did not say what comes after it")
        break_off(moment, entry, message, Ending.DEAD, error)


def bury_unreadable(moment: Moment, unreadable: Sequence[tuple[int, Fence, Exception]]) -> None:
    """Leased tasks that cannot be given to anybody: to the dead letters (promise 42)."""
    query = f"select {COLUMNS} from actorq_tasks where task_id = ? and token = ? and session = ?"
    for session, fence, error in unreadable:
        found = moment.execute(query, (fence.task_id, fence.token, session)).fetchone()
        if found is not None:
            entry = Entry(found)
            give_back(moment, entry)
            message = take_out(moment, entry)
            report(moment, entry, message, error)
            bury(moment, entry, message, f"cannot be decoded: {error}", dump_error(error))
