create table actorq.schedules (
    id text primary key,
    version text not null,
    state text not null
) with (fillfactor = 50);

-- Announcements of changes, which each listener reads from where it was.
create table actorq.schedule_changes (
    seq bigint primary key,
    id text not null
);
