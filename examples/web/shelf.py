"""The shelf: the application's own table of photos, in the queue's file.  Plain functions, for threads.

A photo and its task are committed together: there is never the one without the other.
"""

from __future__ import annotations

import time

import actorq
from board import Card
from jobs import WIDTHS, broker, make_thumbnails, original, thumbnail


def prepare() -> None:
    """Make the table, if this is the first time."""
    with broker.transaction() as transaction:
        transaction.connection.execute(
            "create table if not exists photos (id text primary key, task_id text not null, "
            "name text not null, added real not null)"
        )


def add(name: str, data: bytes, pause: float) -> Card:
    """Keep a new photo and enqueue its task; its card."""
    photo = actorq.uuid7()
    original(photo).parent.mkdir(parents=True)
    original(photo).write_bytes(data)
    with broker.transaction() as transaction:
        task_id = transaction.enqueue(make_thumbnails, photo, pause)
        transaction.connection.execute(
            "insert into photos values (?, ?, ?, ?)", (photo, task_id, name, time.time())
        )
    return Card(photo, name, task_id)


def again(card: Card, pause: float) -> Card:
    """Enqueue a new task for the photo of *card*; its new card."""
    with broker.transaction() as transaction:
        task_id = transaction.enqueue(make_thumbnails, card.id, pause)
        transaction.connection.execute(
            "update photos set task_id = ? where id = ?", (task_id, card.id)
        )
    return Card(card.id, card.name, task_id, made=card.made)


def cards() -> list[Card]:
    """The card of every photo, the oldest first, as if nothing was known of its job."""
    with broker.transaction() as transaction:
        rows = transaction.connection.execute("select id, name, task_id from photos order by added")
        return [Card(photo, name, task, made=_made(photo)) for photo, name, task in rows]


def _made(photo: str) -> tuple[int, ...]:
    return tuple(width for width in WIDTHS if thumbnail(photo, width).exists())
