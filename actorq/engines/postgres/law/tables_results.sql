create table actorq.results (
    task_id text primary key,
    seq bigint not null,
    attempt int not null,
    expires double precision,
    lost boolean not null,  -- its worker died: what that had stored stands
    data bytea not null
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000);
create sequence actorq.results_seq owned by actorq.results.seq;
create index results_by_expiry on actorq.results (expires) where expires is not null;
create index results_by_age on actorq.results (seq);

create table actorq.progress (
    task_id text primary key,
    seq bigint not null,
    attempt int not null,
    expires double precision,
    data bytea not null
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000);
create sequence actorq.progress_seq owned by actorq.progress.seq;
create index progress_by_expiry on actorq.progress (expires) where expires is not null;

-- Whose result cannot be had any more, or never will be.
create table actorq.gone (
    task_id text primary key,
    seq bigint not null,
    why text not null
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000);
create sequence actorq.gone_seq owned by actorq.gone.seq;
create index gone_by_age on actorq.gone (seq);
