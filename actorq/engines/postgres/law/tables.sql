-- The tables of the queue, and the indexes by which each transition finds its rows.
--
-- A million tasks cost each transition what a thousand do: whatever is asked often has an index that
-- holds just those rows (where ...).  Nothing that every call writes is one row for all: there are no
-- counters but each peer's own, ages and tokens are sequences, a lease is a row of its worker's.
-- Text is compared byte by byte ("C"), whatever the database's locale says.

-- where a task is that has not ended; parked, limited and paced are reasons for being held
create type actorq.place as enum ('scheduled', 'ready', 'parked', 'limited', 'paced', 'leased');

create sequence actorq.ages;   -- of tasks; not cached: who is accepted later is younger
create sequence actorq.tokens; -- of deliveries

-- every task that has not ended
create table actorq.tasks (
    task_id text collate "C" primary key,
    id bigint not null,                   -- in the order in which they were accepted
    number bigint not null,               -- its age among those in its place
    place actorq.place not null,
    queue text collate "C" not null,
    priority bigint not null,
    name text collate "C" not null,
    due double precision,                 -- of a scheduled one: Unix seconds
    expires double precision,             -- Unix seconds: from then on no attempt of it starts
    attempt integer not null default 0,   -- deliveries that count so far
    failures integer not null default 0,  -- of these, attempts that failed
    requeues integer not null default 0,  -- of these, attempts that put it back themselves
    deliveries bigint not null,           -- that may lose their worker
    session bigint,                       -- who has it
    token bigint,                         -- of the present delivery
    since double precision,               -- when it was leased: Unix seconds
    cancelled boolean not null default false, -- somebody asked for it while it ran
    severed boolean not null default false,   -- nothing is to come after it
    gate text collate "C",                -- where it waits for its turn
    offer text collate "C",               -- whose room it was offered, and has not used yet
    bounds jsonb,                         -- [unique, permits, paces, chain]; null for most
    alias text,                           -- the id in the message, if it is kept under another one
    said text,                            -- why the message could not be written; there is no body then
    body bytea
) with (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_threshold = -1,
    autovacuum_analyze_scale_factor = 0.2, autovacuum_vacuum_cost_delay = 0
);

create index tasks_claimable on actorq.tasks (queue, priority desc, number) where place = 'ready';
create index tasks_scheduled on actorq.tasks (due, number) where place = 'scheduled';
create index tasks_expiring on actorq.tasks (expires, id)
    where expires is not null and place <> 'leased';
create index tasks_leased on actorq.tasks (session) where place = 'leased';
create index tasks_parked on actorq.tasks (name, number) where place = 'parked';
create index tasks_cancelled on actorq.tasks (session) where cancelled;
-- a claim may have to find out something first: bounds, or whether its time to start went by
create index tasks_special on actorq.tasks (queue)
    where place = 'ready' and (bounds is not null or expires is not null);
create index tasks_waiting on actorq.tasks (gate, queue, priority desc, number)
    where gate is not null;
create index tasks_offered on actorq.tasks (offer, queue) where offer is not null;

-- the latest of those that have ended, so that sending one again is harmless
create table actorq.ended (
    seq bigint generated always as identity primary key,
    task_id text collate "C" not null unique,
    ending text not null
) with (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0
);

-- the dead letters
create table actorq.dead (
    seq bigint generated always as identity primary key,
    task_id text collate "C" not null unique,
    name text not null,
    queue text not null,
    reason text not null,
    attempts integer not null,
    error text,                           -- JSON
    "end" jsonb,                          -- [kind, arguments], if no worker said why
    died double precision not null,       -- Unix seconds
    alias text,
    said text,
    body bytea
);

-- steps of chains that were not accepted yet, or never will be
create table actorq.steps (
    seq bigint generated always as identity primary key,
    task_id text collate "C" not null unique,
    after text collate "C",               -- the task that it waits for
    ending text                           -- how that ended, if it was not a success
);
create index steps_broken on actorq.steps (seq) where ending is not null;

-- the unique keys that are taken
create table actorq.keys (
    key text collate "C" primary key,
    task_id text collate "C" not null,
    until double precision                -- Unix seconds; null: until it is given free
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
create index keys_timed on actorq.keys (until) where until is not null;

-- concurrency limits of which somebody has a permit
create table actorq.permits (
    key text collate "C" primary key,
    running bigint not null
) with (fillfactor = 50);

-- rates of which somebody had a turn
create table actorq.paces (
    key text collate "C" primary key,
    last bigint not null default 0,       -- number of the latest start
    most bigint not null default 1,       -- starts that matter, as far as is known
    longest double precision not null default 0, -- period, likewise: seconds
    until double precision not null default 0,   -- when none of its starts matters any more
    alarm double precision                -- when it has room again, if somebody waits for that
) with (fillfactor = 50);
create index paces_alarms on actorq.paces (alarm) where alarm is not null;
create index paces_idle on actorq.paces (until) where alarm is null;

-- their latest starts, as many as matter
create table actorq.starts (
    key text collate "C" not null,
    number bigint not null,
    at double precision not null,         -- Unix seconds
    primary key (key, number)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- workers
create table actorq.sessions (
    id bigint primary key,
    worker text collate "C" not null,
    peer text collate "C" not null,       -- the storage object that opened it; '': it has signed off
    pid integer,
    host text,
    names text[],                         -- the queues that it serves; null: all
    weights double precision[],           -- of these; null: strictly in this order
    passes jsonb not null default '{}',   -- whose turn it is: the passes of queues ahead of...
    passed double precision not null default 0, -- ...that of the queue that had its turn last
    until double precision not null,      -- when its lease ends
    since double precision not null,      -- Unix seconds
    opened bigint generated always as identity, -- in this order
    beat double precision not null        -- the last sign of life
) with (
    fillfactor = 30, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500
);
create index sessions_of_worker on actorq.sessions (worker);

-- tasks that are over for the queue while their results are still to come: from this session, or never
create table actorq.early (
    task_id text collate "C" primary key,
    session bigint not null,
    attempt integer not null,
    alias text,
    said text,
    body bytea
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
create index early_of_session on actorq.early (session);

-- ends that no worker reports, on their way to the result backend
create sequence actorq.ends;
create table actorq.outbox (
    number bigint primary key default nextval('actorq.ends'),
    task_id text collate "C" not null,
    peer text collate "C" not null,       -- who stores it; '': anybody
    attempts integer not null,
    "end" jsonb not null,                 -- [kind, arguments]
    error text,                           -- JSON, of an end that was given
    step boolean not null,                -- a step that was never accepted
    alias text,
    said text,
    body bytea                            -- of the task, or of the one whose chain broke
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
create index outbox_of_peer on actorq.outbox (peer, number);
create index outbox_of_task on actorq.outbox (task_id);

-- queues that give out nothing
create table actorq.paused (queue text collate "C" primary key);

-- queues that somebody has used
create table actorq.queues (
    queue text collate "C" primary key,
    used double precision not null        -- Unix seconds: when that was said last
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
create index queues_used on actorq.queues (used, queue);

-- what each peer has counted; '': those that are gone
create table actorq.tallies (
    peer text collate "C" primary key,
    done bigint not null default 0,       -- tasks that have ended
    refused bigint not null default 0     -- stale settlements
) with (
    fillfactor = 30, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500
);
