-- What is known of the data itself: the versions of its tables and its law, its generation, its beginning.
create table actorq.meta (
    key text primary key,
    value text not null
);

-- The last call of each peer and lane, with its answers: a call that was interrupted is asked again.
create table actorq.calls (
    peer text not null,
    lane text not null,
    number bigint not null,
    seen double precision not null,
    answers jsonb,
    blobs bytea[],
    primary key (peer, lane)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 2000);

-- Who has called, and when it was heard of last.
create view actorq.peers as
    select c.peer, max(c.seen) as seen from actorq.calls c group by c.peer;

-- By which connection each peer listens, now or last.
create table actorq.presence (
    peer text primary key,
    pid int not null,
    started timestamptz not null
) with (fillfactor = 50);

-- Tasks that were enqueued in a transaction of the user's own; the next call of any broker accepts them.
create table actorq.inbox (
    seq bigint generated always as identity primary key,
    sent jsonb not null,
    body bytea
) with (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 2000);

-- What the acts are told of the call that they belong to.
create type actorq.moment as (
    peer text,
    lane text,
    now double precision,
    lease double precision,
    alone boolean,
    remember int,
    keep_dead int,
    early boolean,
    ttl double precision
);
