"""Performing: what was put aside for one step of the storage, in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any, TypeAlias

from actorq.engines.sqlite.queue.accepting import accept_each
from actorq.engines.sqlite.queue.claiming import claim
from actorq.engines.sqlite.queue.moment import Moment
from actorq.engines.sqlite.queue.settling import settle
from actorq.engines.sqlite.result_rows import sweep
from actorq.engines.stored_result import Keeping


class Acts(Enum):
    """What is to be done."""

    STORE = auto()  #: the messages
    REFUSED = auto()  #: why: they could not be written
    SETTLE = auto()  #: the session, the words
    CLAIM = auto()  #: the session, the limit, its turns


Act: TypeAlias = tuple[Any, ...]


def perform(
    moment: Moment,
    acts: Sequence[Act],
    keeping: Keeping | None,
    limit: int | None = None,
    stored: Callable[[], object] | None = None,
) -> list[Any]:
    """An answer for each, or the `ActorqError` that refuses it: one spoils no other.

    *stored*: called if results are stored, of which *limit* may be kept.
    """
    answers: list[Any] = []
    stores: list[Any] = []
    for kind, *arguments in acts:
        if kind is Acts.STORE:
            stores.append(arguments[0])
            continue
        if stores:
            answers += accept_each(moment, stores)
            stores = []
        if kind is Acts.CLAIM:
            answers.append(claim(moment, *arguments))
        elif kind is Acts.SETTLE:
            session, words = arguments
            answers.append(settle(moment, session, words, keeping))
        else:
            answers.append(arguments[0])
    if stores:
        answers += accept_each(moment, stores)
    if stored is not None:
        assert keeping is not None
        sweep(moment.connection, moment.now, limit)
        stored()
    return answers
