"""Accepting: enqueued messages become tasks, all of a batch or none of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final

from actorq.engines.sent import Bounds, Sent, check_same_call, may_change, read, write
from actorq.engines.sqlite.queue.ends import ask_to_cancel, bury, call_off, report, take_out
from actorq.engines.sqlite.queue.entry import COLUMNS, Entry
from actorq.engines.sqlite.queue.moment import Law, Moment, rows_of
from actorq.engines.sqlite.queue.steps import begin, break_off, some_are_broken
from actorq.errors import ActorqError, DuplicateTask, EnvelopeError
from actorq.message import TaskMessage
from actorq.protocol import Ending
from actorq.remote_error import dump_error
from actorq.unique import OnConflict
from actorq.wire import Wire


#: Where an id is known from.
_LIVE, _ENDED, _DEAD = 0, 1, 2

_KNOWN: Final = (
    f"select task_id, {_LIVE} from actorq_tasks where task_id in ({{}}) union all "
    f"select task_id, {_ENDED} from actorq_ended where task_id in ({{}}) union all "
    f"select task_id, {_DEAD} from actorq_dead where task_id in ({{}})"
)
_INSERT: Final = (
    "insert into actorq_tasks (task_id, name, queue, priority, state, number, due, expires, "
    "deliveries, terms, alias, message) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


def accept(moment: Moment, sent: Sequence[Sent]) -> tuple[str, ...] | None:
    """Accept all, or none; the ids of what stands for each, None: each for itself.

    An id that is known, live or remembered, is not stored again, so that sending again after an
    uncertain answer is harmless (promise 31).  Raises `DuplicateTaskId` if a live task of that id, or
    one of *sent*, is another call; `DuplicateTask` if a unique key is taken and its message says that
    this is an error (promise 39).  What raises has written nothing.
    """
    known = known_ids(moment, [each.task_id for each in sent])
    _check_calls(moment, sent, known)
    if not any(each.bounds is not None and each.bounds.unique is not None for each in sent):
        fresh: dict[str, Sent] = {}
        for each in sent:
            if each.task_id not in known:
                fresh.setdefault(each.task_id, each)
        _insert(moment, list(fresh.values()))
        return None
    _check_keys(moment, sent, known)
    stand_ins: dict[str, str] = {}
    for each in sent:
        task_id = each.task_id
        if task_id in known or task_id in stand_ins:
            continue
        known[task_id] = _LIVE
        if each.bounds is not None and each.bounds.unique is not None:
            stand_in = _resolve(moment, each, each.bounds)
            if stand_in is not None:
                stand_ins[task_id] = stand_in
                continue
        _insert(moment, [each])
    if not stand_ins:
        return None
    return tuple([stand_ins.get(each.task_id, each.task_id) for each in sent])


def accept_each(moment: Moment, batches: Sequence[Sequence[Sent]]) -> list[object]:
    """Each as `accept` does, and its answer or refusal; plain ones together."""
    everything = [each for batch in batches for each in batch]
    if all(each.bounds is None for each in everything):
        ids = [each.task_id for each in everything]
        if len(set(ids)) == len(ids) and not known_ids(moment, ids):
            _insert(moment, everything)
            return [None] * len(batches)
    answers: list[object] = []
    for batch in batches:
        try:
            answers.append(accept(moment, batch))
        except ActorqError as refusal:
            answers.append(refusal)
    return answers


def follow(moment: Moment, sent: Iterable[Sent]) -> None:
    """What comes after a task that has succeeded; a settlement cannot fail on it."""
    for each in sent:
        try:
            accept(moment, [each])
        except ActorqError as refusal:
            if _LIVE in known_ids(moment, [each.task_id]).values():
                continue
            _insert(moment, [each])
            entry = entry_of(moment, each.task_id)
            assert entry is not None
            message = take_out(moment, entry)
            report(moment, entry, message, refusal)
            reason = f"it could not be enqueued: {refusal}"
            bury(moment, entry, message, reason, dump_error(refusal))


def accept_in(
    connection: sqlite3.Connection,
    messages: Sequence[TaskMessage],
    wire: Wire,
    now: float,
    *,
    peer: str = "",
) -> tuple[str, ...] | None:
    """As `accept`, in a transaction of somebody else's."""
    sent = [write(message, wire) for message in messages]
    moment = Moment(connection, Law(peer, lambda _: None, wire), now)
    answer = accept(moment, sent)
    moment.save()
    return answer


def known_ids(moment: Moment, ids: list[str]) -> dict[str, int]:
    """Those that were accepted, and where they are known from."""
    return dict(rows_of(moment.connection, _KNOWN, ids))


def entry_of(moment: Moment, task_id: str) -> Entry | None:
    """A task that has not ended."""
    query = f"select {COLUMNS} from actorq_tasks where task_id = ?"
    row = moment.execute(query, (task_id,)).fetchone()
    return None if row is None else Entry(row)


def _insert(moment: Moment, sent: Sequence[Sent]) -> None:
    if not sent:
        return
    now = moment.now
    number = moment.marks.numbers
    moment.marks.numbers += len(sent)
    rows = []
    for task_id, data, message, bounds, alias in sent:
        number += 1
        options, eta, terms = message.options, message.eta, message.terms
        waits = eta is not None and eta > now
        rows.append(
            (
                *(task_id, message.task_name, options.queue, options.priority),
                *("scheduled" if waits else "ready", number, eta if waits else None),
                None if terms is None else terms.expires_at,
                options.max_deliveries,
                None if bounds is None else bounds.dump(),
                *(alias, data),
            )
        )
    moment.connection.executemany(_INSERT, rows)
    forgets = some_are_broken(moment)
    for each in sent:
        if forgets or (each.bounds is not None and each.bounds.chain):
            begin(moment, each.task_id, () if each.bounds is None else each.bounds.chain)
    moment.law.touch("tasks")


# --- one id, one call ---


def _check_calls(moment: Moment, sent: Sequence[Sent], known: dict[str, int]) -> None:
    for each in sent if known else ():
        if known.get(each.task_id) == _LIVE:
            query = "select terms, alias, message from actorq_tasks where task_id = ?"
            terms, alias, data = moment.execute(query, (each.task_id,)).fetchone()
            if data != each.data and not (terms is not None and may_change(Bounds.load(terms))):
                try:
                    message = read(data, each.task_id, alias, moment.law.wire)
                except EnvelopeError:
                    continue  # who can tell?
                check_same_call(message, each.message)
    if len(sent) > 1:
        batch: dict[str, Sent] = {}
        for each in sent:
            first = batch.setdefault(each.task_id, each)
            if first is each or may_change(first.bounds):
                continue
            check_same_call(first.message, each.message)


# --- one key, one task ---


def _check_keys(moment: Moment, sent: Sequence[Sent], known: dict[str, int]) -> None:
    """Refuse the batch before anything of it is stored."""
    taken: dict[str, str] = {}
    seen: set[str] = set()
    for each in sent:
        unique = None if each.bounds is None else each.bounds.unique
        again = each.task_id in seen or each.task_id in known or _is_step(moment, each.task_id)
        seen.add(each.task_id)
        if unique is None or again:
            continue
        holder = taken.get(unique.key) or moment.keys.holder(unique.key, moment.now)
        if holder is None:
            taken[unique.key] = each.task_id
        elif unique.on_conflict is OnConflict.REJECT:
            raise DuplicateTask.of(holder, unique.key)


def _is_step(moment: Moment, task_id: str) -> bool:
    query = "select 1 from actorq_steps where task_id = ?"
    return moment.execute(query, (task_id,)).fetchone() is not None


def _resolve(moment: Moment, sent: Sent, bounds: Bounds) -> str | None:
    """Take the message's key for it; the id of another task that stands for it, if one does."""
    unique = bounds.unique
    assert unique is not None
    now, keys = moment.now, moment.keys
    holder: str | None = keys.holder(unique.key, now)
    if holder is None:
        keys.take(unique, sent.task_id, now)
        return None
    entry = entry_of(moment, holder)
    if unique.on_conflict is OnConflict.REPLACE:
        if entry is not None:
            _displace(moment, entry, sent.task_id)
        keys.take(unique, sent.task_id, now)
        return None
    if unique.on_conflict is OnConflict.DEBOUNCE and entry is not None:
        if entry.state == "leased":  # taken by a call that was not debounced itself
            keys.take(unique, sent.task_id, now)
            return None
        message = take_out(moment, entry)
        break_off(moment, entry, message, Ending.CANCELLED, None, bounds.chain)
        alias = sent.alias or sent.task_id
        _insert(moment, [sent._replace(task_id=holder, alias=None if alias == holder else alias)])
    return holder


def _displace(moment: Moment, entry: Entry, successor: str) -> None:
    """A later call with the same key takes this one's place."""
    if entry.state == "leased":
        ask_to_cancel(moment, entry)
        return
    task_id = entry.task_id
    call_off(moment, entry, f"task {task_id} was replaced by {successor}, which has its unique key")
