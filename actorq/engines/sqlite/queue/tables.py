"""The tables of the queue, and the indexes by which each transition finds its rows.

A million tasks cost each transition what a thousand do: whatever is asked often has an index that holds
just those rows (`where ...`), and the counts are kept by triggers.
"""

from __future__ import annotations

from typing import Final


#: A ready task that a worker could have.
CLAIMABLE: Final = "state = 'ready' and held is null"
#: A queue that has such tasks, unless it is paused.
BUSY: Final = "place = 'ready' and n > 0"
#: A task that may expire still.
EXPIRING: Final = "expires is not null and state <> 'leased'"


def tasks(index: str) -> str:
    """The table with the index by which its rows are to be found.

    Said, for SQLite's own choice depends on how many rows there were when it last counted them.
    """
    return f"actorq_tasks indexed by actorq_tasks_{index}"


_COUNT: Final = """insert into actorq_counts (queue, place, n)
    values ({row}.queue, coalesce({row}.held, {row}.state), {by})
    on conflict do update set n = n + {by}"""

TABLES: Final[tuple[str, ...]] = (
    # every task that has not ended
    """create table actorq_tasks (
        id integer primary key, -- in the order in which they were accepted
        task_id text not null unique,
        name text not null,
        queue text not null,
        priority integer not null,
        state text not null,                  -- scheduled, ready, leased
        held text,                            -- why it may not be claimed: parked, limited, paced
        number integer not null,              -- its age among those in its state
        due real,                             -- of a scheduled one: Unix seconds
        expires real,                         -- Unix seconds: from then on no attempt of it starts
        attempt integer not null default 0,   -- deliveries that count so far
        failures integer not null default 0,  -- of these, attempts that failed
        requeues integer not null default 0,  -- of these, attempts that put it back themselves
        deliveries integer not null,          -- that may lose their worker
        session integer,                      -- who has it
        token integer,                        -- of the present delivery
        since real,                           -- when it was leased: Unix seconds
        cancelled integer not null default 0, -- 1: somebody asked for it while it ran
        severed integer not null default 0,   -- nothing is to come after it
        gate text,                            -- where it waits for its turn, or may take it
        offer text,                           -- whose room it was offered, and has not used yet
        terms text,                           -- JSON; null for most
        alias text,                           -- the id in the message, if it is kept under another one
        message blob not null                 -- as text: why it could not be written
    )""",
    "create index actorq_tasks_claimable on actorq_tasks (queue, priority desc, number) "
    f"where {CLAIMABLE}",
    "create index actorq_tasks_scheduled on actorq_tasks (due, number) where state = 'scheduled'",
    f"create index actorq_tasks_expiring on actorq_tasks (expires, id) where {EXPIRING}",
    "create index actorq_tasks_leased on actorq_tasks (session, token) where state = 'leased'",
    "create index actorq_tasks_parked on actorq_tasks (name, number) where held = 'parked'",
    "create index actorq_tasks_cancelled on actorq_tasks (session) where cancelled = 1",
    # how many there are, by where they are
    """create table actorq_counts (
        queue text not null,
        place text not null, -- the state, or why it is held
        n integer not null,
        primary key (queue, place)
    ) without rowid""",
    # a queue that was used once costs no claim anything
    f"create index actorq_counts_busy on actorq_counts (queue) where {BUSY}",
    f"""create trigger actorq_task_comes after insert on actorq_tasks begin
        {_COUNT.format(row="new", by=1)};
    end""",
    f"""create trigger actorq_task_moves after update of state, held on actorq_tasks
    when coalesce(new.held, new.state) <> coalesce(old.held, old.state) begin
        {_COUNT.format(row="old", by=-1)};
        {_COUNT.format(row="new", by=1)};
    end""",
    f"""create trigger actorq_task_goes after delete on actorq_tasks begin
        {_COUNT.format(row="old", by=-1)};
    end""",
    # numbers that only grow; one row
    """create table actorq_marks (
        numbers integer not null,  -- ages that were given out
        tokens integer not null,   -- deliveries
        sessions integer not null, -- sessions that were opened
        lost integer not null,     -- sessions that have ended
        notices integer not null,  -- running tasks that somebody asked to cancel
        parked integer not null,   -- tasks that were parked
        ends integer not null,     -- ends that nobody but the queue tells
        done integer not null,     -- tasks that have ended
        dead integer not null,     -- dead letters that are there
        refused integer not null   -- stale settlements
    )""",
    "insert into actorq_marks values (0, 0, 0, 0, 0, 0, 0, 0, 0, 0)",
    # the latest of those that have ended, so that sending one again is harmless
    """create table actorq_ended (
        seq integer primary key,
        task_id text not null unique,
        ending text not null
    )""",
    # the dead letters
    """create table actorq_dead (
        seq integer primary key,
        task_id text not null unique,
        name text not null,
        queue text not null,
        reason text not null,
        attempts integer not null,
        error text,              -- JSON
        died real not null,      -- Unix seconds
        alias text,
        message blob not null
    )""",
    # steps of chains that were not accepted yet, or never will be
    """create table actorq_steps (
        seq integer primary key,
        task_id text not null unique,
        after text,              -- the task that it waits for
        ending text              -- how that ended, if it was not a success
    )""",
    "create index actorq_steps_broken on actorq_steps (seq) where ending is not null",
    # workers
    """create table actorq_sessions (
        id integer primary key,
        worker text not null,
        peer text not null,      -- the storage object that opened it
        pid integer not null,
        host text not null,
        boot text not null,      -- of the machine: its steady clock began with that
        queues text,             -- JSON of the choice; null: all
        until real not null,     -- when its lease ends: seconds of the machine's steady clock
        since real not null,     -- Unix seconds
        beat real not null       -- the last sign of life: Unix seconds
    )""",
    "create index actorq_sessions_of_worker on actorq_sessions (worker)",
    # ends that no worker reports, on their way to the result backend
    """create table actorq_outbox (
        seq integer primary key autoincrement,
        task_id text not null,
        peer text not null,      -- who stores it
        attempts integer not null,
        error text not null,     -- JSON
        step integer not null,   -- 1: a step that was never accepted
        alias text,
        message blob not null    -- of the task, or of the one whose chain broke
    )""",
    "create index actorq_outbox_of_peer on actorq_outbox (peer, seq)",
    "create index actorq_outbox_of_task on actorq_outbox (task_id)",
    # queues that give out nothing
    "create table actorq_paused (queue text primary key) without rowid",
)
