-- Which peers are connected.  A process that dies cannot say so, but its connections end with it.

-- For the connection that listens: it is this peer's.
create or replace function actorq.be_present(its_peer text) returns void
language sql as $$
    insert into actorq.presence
        select its_peer, a.pid, a.backend_start from pg_stat_activity a where a.pid = pg_backend_pid()
        on conflict (peer) do update set pid = excluded.pid, started = excluded.started
$$;

-- Whether the connection of this peer is known to have ended.  Of connections that the server ended
-- itself, when it was restarted, nothing follows: the caller's own has to be older than a while.
create or replace function actorq.is_gone(m actorq.moment, its_peer text) returns boolean
language sql as $$
    select exists (
            select from actorq.presence p
            where p.peer = its_peer and not exists (
                select from pg_stat_activity a
                where a.pid = p.pid and (a.backend_start is null or a.backend_start = p.started)))
        and exists (
            select from actorq.presence p
            join pg_stat_activity a on a.pid = p.pid and a.backend_start = p.started
            where p.peer = m.peer and a.backend_start < clock_timestamp() - interval '6 s')
$$;

-- What was of peers that are not remembered any more.
create or replace function actorq.forget_absent() returns void
language sql as $$
    delete from actorq.presence p
    where not exists (select from actorq.calls c where c.peer = p.peer)
        and not exists (
            select from pg_stat_activity a where a.pid = p.pid and a.backend_start = p.started)
$$;
