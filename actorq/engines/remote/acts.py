"""The acts: what a storage is asked to do, and what it answers, as plain data.

The contract between the client's side and each engine's law on its server.  A *request* is a list of
acts, done in their order in one atomic step; its *reply* has an answer for each, and a *view* of how
things are at the end of the step.  Plain data: None, bool, int, float, str, list, dict; and *blobs*,
which are what `Request.put` returned: the bytes themselves, or their number in a list beside.

The law is that of `actorq.engines.sqlite.queue` (and of the reference, `actorq.engines.memory.queue`):
what is said there of each transition holds here.  Times are Unix seconds on the server's clock.

Forms
-----
bounds   [unique, permits, paces, chain] or None
         unique: [key, on_conflict, until, seconds|None] or None; permits: [[key, limit]...];
         paces: [[key, starts, period, smooth]...]; chain: [task_id...]
sent     [task_id, blob|None, said|None, name, queue, priority, eta|None, expires|None, deliveries,
         bounds, alias|None]          said: why the message could not be written; then blob is None;
                                      priority: as text from 2**53 on
word     [task_id, attempt, token, ending, delay, reason, error|None, then, early, result|None]
         ending: the value of an `Ending`; error: JSON text; then: [sent...]
result   [task_id, attempt, ttl|None, blob, lost]     lost: it is a WorkerLost
choice   [names, weights|None] or None
end      [kind, arguments]: see `actorq.engines.remote.ends`

Acts of the broker, and their answers
-------------------------------------
["store", [sent...], same]        None, if each stands for itself; {"ids": [...]}: of what stands for
                                  each; {"refused": [task_id, key]}: a unique key is taken, by that
                                  task, and that is an error.  Unless *same*: {"compare": [[task_id,
                                  blob|None, said|None, alias|None, name]...]} for live tasks of these
                                  ids whose bytes differ (not debounced ones): the caller compares the
                                  calls and asks again with *same*.  Nothing is stored but in the
                                  first two cases
["claim", session, limit, names]  {"claimed": [[task_id, attempt, token, failures, alias|None,
                                  blob|None, said|None]...], "more": bool}; what is parked for *names*
                                  (in queues that the session serves) is released first
["settle", session, [word...]]    [bool...]: False for a stale fence.  A result is stored in the same
                                  step; an earlier run's that came further stands
["open", worker, choice, pid, host]            the session: a random number below 2**52
["renew", session]                bool
["lapse", late]                   None: ends the sessions that are over; takes over the outboxes of
                                  peers that have been silent for longer than a lease
["move", peer]                    None: what was that peer's is the caller's
["sign_off"]                      None: the caller closes in order; its sessions are over when their
                                  leases are, or at once if they hold nothing; its outbox is anybody's
["release", name]                 None
["revoke", task_id]               True, False, or None: it runs
["purge", queue, limit]           [how many of at most *limit*, whether there may be more]
["replay", [[task_id, sent]...], same]         {"ids": [task_id|None...]}, or as "store" when refused
["purge_dead", [task_id...]|None] how many
["pause", queue, bool]            None
["name", [queue...]]              None: these are used; they are known from then on.  Those of which it
                                  was not said for `QUEUES_KEPT_FOR`, or of which more than
                                  `QUEUES_KEPT` were used since, are forgotten when they are empty
["promote"]                       bool: whether there may be more; at most 500 of each kind
["published", [number...]]        None: these ends of the outbox are stored
["bury", [[session, task_id, attempt, token, text, error]...]]   None: cannot be decoded

["locate", task_id]  ["is_ending", task_id]  ["ending", task_id]    str; bool; str|None
["ended", [task_id...]]           those of them that are done or dead
["statistics"]                    {"places": [[queue|None, place, n]...], "queues": [queue...], "done":
                                  n, "dead": n, "refused": n, "paused": [queue...]}; places: scheduled,
                                  ready, parked, limited, paced, leased; queues: all that are known
["dead", task_id|None]            [[task_id, blob|None, said|None, alias|None, name, queue, reason,
                                  attempts, error|None, end|None, died]...], the oldest first
["queued", queue|None, limit]     [[task_id, blob|None, said|None, alias|None, name, queue, place,
                                  attempt]...], the first accepted first
["workers"]                       [[worker, session, pid, host, choice, since, beat, [[task_id, name,
                                  queue, attempt, since]...]]...], the oldest first; not those over

The view
--------
{"claimable": bool, "leased": bool, "over": bool, "due": float|None, "good": [session...] (of this peer),
 "notices": [[session, task_id, attempt, token]...] (for sessions of this peer), "parked": [name...],
 "outbox": [[number, task_id, attempts, end, error|None, step, alias|None, blob|None, said|None]...]}
leased: any job, in any process, or an outbox of a peer that is silent: "lapse" is called now and then.
over: there is something for "lapse" to do at once (may be left out): a session with jobs is over, or
a peer with a session has died.  Died: silent for `SILENT` seconds, and the connection by which it hears
what is pushed is gone; one whose event loop stands still is silent, but keeps that connection.
outbox: of this peer, after the request's `seen`, at most `room`; the numbers grow.  error: JSON, of
an end whose kind is "given".

Acts of the result backend
--------------------------
["set_results", [result...]]      [None, or "stored", or "runs": that is why it is stale...]
["get_results", [task_id...]]     {"results": [[task_id, blob]...], "gone": [[task_id, why]...]}
["delete_results", [task_id...]]  None
["give_up", task_id, text]        None: noted as gone, as f"unsaved {text}"
["set_progress", task_id, attempt, blob]       its number, or None if that is stale
["get_progress", [task_id...]]    [[number, task_id, blob]...], in the order of the numbers
["forgotten"]                     how many notes of what is gone have been dropped, since the beginning
gone: "expired", "deleted", "evicted N", "unsaved TEXT"; the latest 100,000 are noted

Acts of the schedule source
---------------------------
["schedules"]                     [[id, state]...], by id; state: JSON text
["schedule", id]                  state or None
["swap", id, version|None, [version, state]|None, announce]    bool
["clear", id, state]              None: it goes, if that is its state: it cannot be read
["changes", number|None]          [the newest number, ids announced after *number*, or None if some
                                  were dropped (1000 are kept)]; None as number: ids is []

What is pushed
--------------
To who subscribes to a topic, when the step is done: tasks (there may be more to claim), ends (notices,
sessions, outbox), results (with the ids whose results, progress or notes are new; with one result, and
nothing else, its bytes may come, too: `RemoteStorage.carry`), schedules.  Each says which peer did it.

Two are no acts and leave nothing behind, `RemoteStorage.say`: looks, to all who work, and lines, to the
peer that looks.  See `actorq.engines.remote.whereabouts`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, Literal, TypeAlias

import attrs


Act: TypeAlias = list[Any]
Topic: TypeAlias = Literal["tasks", "ends", "results", "schedules", "looks", "lines"]

#: Seconds without a call (each broker makes one at every recheck) after which a peer may have died.
SILENT: Final = 3.0
#: Ended ids, and dead letters, that are kept.
REMEMBERED: Final = 10_000
#: Whose result is gone is remembered for so many.
GONE_KEPT: Final = 100_000
#: Names of empty queues that are kept, and for how many seconds after their latest use.
QUEUES_KEPT: Final = 1_000
QUEUES_KEPT_FOR: Final = 30 * 24 * 3600.0
#: Announcements of schedules that are kept.
CHANGES_KEPT: Final = 1_000
#: Expired results that one step takes out, at most.
SWEPT: Final = 64


@attrs.define(eq=False)
class Request:
    """What is to be done in one step."""

    acts: list[Act] = attrs.field(factory=list)
    writes: bool = True  #: it is done exactly once, whatever becomes of the connection
    now: float | None = None  #: None: the server's clock; a time of the tests' own otherwise
    lease: float = 30.0  #: seconds
    view: bool = False  #: whether it is asked for
    seen: int = 0  #: the number of the last end in the outbox that is known
    room: int = 0  #: for more of them
    queues: set[str] = attrs.field(factory=set)  #: of what is sent: for who sends it
    named: list[str] = attrs.field(factory=list)  #: those of them that "name" says
    ttl: float | None = None  #: seconds that results are kept; None: for ever
    limit: int | None = None  #: results that may be kept; said now and then, and looked after then
    early: bool = False  #: results are kept in this storage: "early" of a word is to be noted
    remember: int = REMEMBERED
    keep_dead: int = REMEMBERED
    blobs: list[bytes] = attrs.field(factory=list)

    def put(self, data: bytes) -> Any:
        """What stands for *data* in an act."""
        return data


@attrs.define(eq=False)
class Reply:
    """What came of it."""

    answers: list[Any]
    now: float  #: on the server's clock
    generation: str  #: of the data: another one means that all that was there is gone
    previous: int | None = None  #: the caller's last number that was known there before this one
    view: dict[str, Any] | None = None
    blobs: Collection[Any] = ()
    asked: float = 0.0  #: Trio's time just before
    came: float = 0.0  #: and when it was read

    def take(self, blob: Any) -> bytes:
        """The bytes that *blob* stands for."""
        return blob  # type: ignore[no-any-return]
