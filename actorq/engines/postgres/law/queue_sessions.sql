-- Sessions: which workers hold a lease, until when, and what becomes of their jobs when they end.
--
-- A lease is one row, renewed for all jobs of its worker; times are the server's.  A peer that nobody
-- has heard of for longer than a lease is silent: what it has left is anybody's.

create or replace function actorq.is_silent(
    m actorq.moment, its_peer text, seconds double precision
) returns boolean language plpgsql stable as $$
begin
    return not exists (
        select 1 from actorq.calls c where c.peer = its_peer and c.seen > m.now - seconds);
end $$;

-- Whether a peer has died: it is silent (each calls every second), and the connection by which it listens
-- has ended.  One whose event loop stands still is silent, but keeps that connection.
create or replace function actorq.has_died(m actorq.moment, its_peer text) returns boolean
language plpgsql stable as $$
begin
    if its_peer = m.peer or its_peer = '' or not actorq.is_silent(m, its_peer, 3) then
        return false;
    end if;
    return actorq.is_gone(m, its_peer);
end $$;

-- Peers of whom ends are to be told, and who are silent or have died.
create or replace function actorq.left_behind(m actorq.moment) returns text[]
language plpgsql stable as $$
begin
    return (
        with recursive named as (
            (select peer from actorq.outbox order by peer limit 1)
            union all
            select (select o.peer from actorq.outbox o where o.peer > named.peer
                    order by o.peer limit 1)
            from named where named.peer is not null
        )
        select coalesce(array_agg(peer), '{}') from named
        where peer is not null and peer <> m.peer
            and (actorq.is_silent(m, peer, m.lease) or actorq.has_died(m, peer)));
end $$;

-- ["open", worker, choice, pid, host]: the session
create or replace function actorq.act_open(
    m actorq.moment, act jsonb, given bytea, inout taken bytea[], out answer jsonb
) language plpgsql as $$
declare
    older bigint;
    session bigint := (random() * 4503599627370494)::bigint + 1;
begin
    for older in select id from actorq.sessions where worker = act->>1 loop
        perform actorq.end_session(m, older);
    end loop;
    insert into actorq.sessions (id, worker, peer, pid, host, names, weights, until, since, beat)
    values (
        session, act->>1, m.peer, (act->>3)::integer, act->>4,
        case when jsonb_typeof(act->2) = 'array'
            then array(select jsonb_array_elements_text(act->2->0)) end,
        case when jsonb_typeof(act->2->1) = 'array'
            then array(select jsonb_array_elements_text(act->2->1)::double precision) end,
        m.now + m.lease, m.now, m.now);
    answer := to_jsonb(session);
end $$;

-- ["renew", session]: whether it is still good
create or replace function actorq.act_renew(
    m actorq.moment, act jsonb, given bytea, inout taken bytea[], out answer jsonb
) language plpgsql as $$
begin
    update actorq.sessions set until = m.now + m.lease, beat = m.now
    where id = (act->>1)::bigint;
    answer := to_jsonb(found);
end $$;

-- The server stood still, and nobody could renew: who is over gets the time of one renewal, and at least
-- that of coming back.
create or replace function actorq.stood_still(m actorq.moment) returns void
language plpgsql as $$
begin
    update actorq.sessions s set until = m.now + greatest(m.lease / 2, 2)
    where s.until < m.now + greatest(m.lease / 2, 2);
end $$;

-- Sessions that are over: their leases, while jobs depend on it or their peers are silent; or their peers
-- have died.
create or replace function actorq.sessions_over(m actorq.moment) returns bigint[]
language plpgsql stable as $$
begin
    return (
        select coalesce(array_agg(s.id order by s.opened), '{}') from actorq.sessions s
        where case when s.until <= m.now
            then exists (select 1 from actorq.tasks t where t.session = s.id and t.place = 'leased')
                or actorq.is_silent(m, s.peer, m.lease)
            else actorq.has_died(m, s.peer) end);
end $$;

-- ["lapse", late]
create or replace function actorq.act_lapse(
    m actorq.moment, act jsonb, given bytea, inout taken bytea[], out answer jsonb
) language plpgsql as $$
declare
    late double precision := (act->>1)::double precision;
    session bigint;
    over bigint[];
    left_now text[];
begin
    if late > 0 then
        -- what held us up may have held up others: those get the time of one renewal
        update actorq.sessions set until = until + late where peer = m.peer;
        update actorq.sessions set until = m.now + m.lease / 3
        where peer <> m.peer and until between m.now - late and m.now;
    end if;
    over := actorq.sessions_over(m);
    left_now := actorq.left_behind(m);
    answer := 'null';
    if over = '{}' and left_now = '{}' then return; end if;
    if not m.alone then raise sqlstate 'AQ001' using message = 'sessions are over'; end if;
    foreach session in array over loop
        perform actorq.end_session(m, session);
    end loop;
    -- renumbered, for who reads on from a number
    update actorq.outbox o set peer = m.peer, number = renumbered.number
    from (
        select f.number as former, nextval('actorq.ends') as number from (
            select number from actorq.outbox where peer = any(left_now) order by number
        ) f
    ) renumbered
    where o.number = renumbered.former;
    -- what the silent have counted
    with gone as (
        delete from actorq.tallies t
        where t.peer <> '' and t.peer <> m.peer and actorq.is_silent(m, t.peer, m.lease)
        returning t.done, t.refused
    )
    insert into actorq.tallies as t (peer, done, refused)
    select '', sum(done), sum(refused) from gone having count(*) > 0
    on conflict (peer) do update
    set done = t.done + excluded.done, refused = t.refused + excluded.refused;
end $$;

-- ["move", peer]: what was that peer's is the caller's
create or replace function actorq.act_move(
    m actorq.moment, act jsonb, given bytea, inout taken bytea[], out answer jsonb
) language plpgsql as $$
begin
    update actorq.sessions set peer = m.peer where peer = act->>1;
    update actorq.outbox set peer = m.peer where peer = act->>1;
    answer := 'null';
end $$;

-- ["sign_off"]: what holds nothing is over; the rest is anybody's
create or replace function actorq.act_sign_off(
    m actorq.moment, act jsonb, given bytea, inout taken bytea[], out answer jsonb
) language plpgsql as $$
declare
    session bigint;
begin
    for session in
        select s.id from actorq.sessions s where s.peer = m.peer
        and not exists (select 1 from actorq.tasks t where t.session = s.id and t.place = 'leased')
    loop
        perform actorq.end_session(m, session);
    end loop;
    update actorq.sessions set peer = '' where peer = m.peer;
    update actorq.outbox set peer = '' where peer = m.peer;
    answer := 'null';
end $$;

-- A session ends: its jobs are available to others at once.
create or replace function actorq.end_session(m actorq.moment, its_id bigint) returns void
language plpgsql as $$
declare
    e actorq.tasks;
    lost actorq.early;
begin
    delete from actorq.sessions where id = its_id;
    for e in
        select t.* from actorq.tasks t where t.session = its_id and t.place = 'leased'
        order by t.token
    loop
        perform actorq.take_away(m, e);
    end loop;
    for lost in delete from actorq.early where session = its_id returning * loop
        perform actorq.tell(m, lost.task_id, lost.attempt, '["early", []]', null,
            lost.alias, lost.said, lost.body, false);
    end loop;
    perform actorq.push('ends', m.peer);
    perform actorq.push('tasks', m.peer);
end $$;

create or replace function actorq.take_away(m actorq.moment, e actorq.tasks) returns void
language plpgsql as $$
declare
    lost jsonb;
begin
    perform actorq.gate_give_back(m, e.bounds);
    if e.cancelled then
        perform actorq.end_unreported(m, e, 'cancelled', '["cancelled", []]');
    elsif e.attempt - e.requeues >= e.deliveries then
        lost := jsonb_build_array('lost', jsonb_build_array(e.attempt - e.requeues));
        perform actorq.report(m, e, lost);
        perform actorq.bury(m, e, '', null, lost);
    else
        perform actorq.make_ready(m, e);
    end if;
end $$;

-- A task that was leased may be claimed again, or once somebody knows it.
create or replace function actorq.make_ready(
    m actorq.moment, e actorq.tasks, park boolean default false
) returns void language plpgsql as $$
begin
    if e.expires <= m.now then
        perform actorq.expire(m, e);
    else
        perform actorq.put(e, case when park then 'parked' else 'ready' end::actorq.place, null);
    end if;
end $$;

-- Out of the lease, to *its_place*.
create or replace function actorq.put(
    e actorq.tasks, its_place actorq.place, its_due double precision
) returns void language plpgsql as $$
begin
    update actorq.tasks t
    set place = its_place, due = its_due, number = e.number, attempt = e.attempt,
        failures = e.failures, requeues = e.requeues, session = null, token = null, since = null
    where t.task_id = e.task_id;
end $$;

-- Somebody who serves these queues (null: all) knows this task: what was parked for it may be claimed.
create or replace function actorq.release(m actorq.moment, its_name text, queues text[])
returns void language plpgsql as $$
begin
    update actorq.tasks t set place = 'ready'
    where t.place = 'parked' and t.name = its_name and (queues is null or t.queue = any(queues));
    if found then
        perform actorq.push('tasks', m.peer);
    end if;
end $$;

-- ["release", name]
create or replace function actorq.act_release(
    m actorq.moment, act jsonb, given bytea, inout taken bytea[], out answer jsonb
) language plpgsql as $$
begin
    perform actorq.release(m, act->>1, null);
    answer := 'null';
end $$;
