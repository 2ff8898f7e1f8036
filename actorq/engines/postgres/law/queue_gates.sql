-- Gates: which ready tasks may start now, by their concurrency limits and rates.
--
-- Each key of a limit is a gate ('permit KEY', 'pace KEY'); a task that it refuses is held there, the
-- highest priority first, then the oldest; when the gate has room, just as many as it has room for are
-- offered it, and may be claimed again.  The invariant by which nobody is forgotten: while tasks wait
-- at a gate, all its room is used or offered, or an alarm is set for when it has some.

create or replace function actorq.start_at(pace text, which bigint) returns double precision
language plpgsql stable as $$
begin
    return (
        select at from actorq.starts where key = pace and number = which);
end $$;

-- Whether one may start at this rate when *used* others do.  limited: [key, starts, period, smooth].
create or replace function actorq.pace_is_free(
    limited jsonb, last bigint, used bigint, now double precision
) returns boolean language plpgsql stable as $$
declare
    starts bigint := (limited->>1)::bigint;
    period double precision := (limited->>2)::double precision;
    hinders double precision;
begin
    if (limited->>3)::boolean then
        hinders := actorq.start_at(limited->>0, last);
        return used = 0 and (hinders is null or hinders + period / starts <= now);
    end if;
    if used >= starts then return false; end if;
    hinders := actorq.start_at(limited->>0, last - starts + used + 1);
    return hinders is null or hinders + period <= now;
end $$;

-- Whether the gate lets one with *bounds* start when *used* others do.
create or replace function actorq.gate_has_room(
    gate text, bounds jsonb, used bigint, now double precision
) returns boolean language plpgsql stable as $$
declare
    its_key text := substr(gate, strpos(gate, ' ') + 1);
    running bigint;
    latest bigint;
    least bigint;
    each jsonb;
begin
    if gate like 'permit %' then
        select p.running into running from actorq.permits p where p.key = its_key;
        select min((l->>1)::bigint) into least
        from jsonb_array_elements(bounds->1) l where l->>0 = its_key;
        return least - coalesce(running, 0) > used;
    end if;
    select p.last into latest from actorq.paces p where p.key = its_key;
    for each in select l from jsonb_array_elements(bounds->2) l where l->>0 = its_key loop
        if not actorq.pace_is_free(each, coalesce(latest, 0), used, now) then
            return false;
        end if;
    end loop;
    return true;
end $$;

-- When the next with *bounds* may start, if none may now.
create or replace function actorq.pace_next_free(its_key text, bounds jsonb)
returns double precision language plpgsql stable as $$
declare
    due double precision := '-infinity';
    latest bigint;
    start double precision;
    starts bigint;
    period double precision;
    smooth boolean;
begin
    select p.last into latest from actorq.paces p where p.key = its_key;
    for starts, period, smooth in
        select (l->>1)::bigint, (l->>2)::double precision, (l->>3)::boolean
        from jsonb_array_elements(bounds->2) l where l->>0 = its_key
    loop
        start := actorq.start_at(
            its_key, case when smooth then latest else latest - starts + 1 end);
        if start is not null then
            due := greatest(due, start + case when smooth then period / starts else period end);
        end if;
    end loop;
    return due;
end $$;

-- Set a rate's alarm, or take it back.
create or replace function actorq.pace_ring(its_key text, due double precision) returns void
language plpgsql as $$
begin
    update actorq.paces set alarm = due where key = its_key and alarm is distinct from due;
end $$;

-- Offer the room there is to those who wait for it; how many.  Sets the alarm if time gives some.
create or replace function actorq.gate_look(m actorq.moment, its_gate text) returns integer
language plpgsql as $$
declare
    its_queue text := '';
    offers integer := 0;
begin
    loop
        select t.queue into its_queue from actorq.tasks t
        where t.gate = its_gate and t.queue > its_queue order by t.queue limit 1;
        exit when not found;
        offers := offers + actorq.crowd_look(m, its_gate, its_queue);
    end loop;
    if offers > 0 then
        perform actorq.push('tasks', m.peer);
    end if;
    return offers;
end $$;

create or replace function actorq.crowd_look(m actorq.moment, its_gate text, its_queue text)
returns integer language plpgsql as $$
declare
    offered bigint;
    offers integer := 0;
    few integer := 1;
    looked boolean;
    task text;
    bounds jsonb;
    its_key text := substr(its_gate, strpos(its_gate, ' ') + 1);
    due double precision;
begin
    select count(*) into offered from actorq.tasks t
    where t.offer = its_gate and t.queue = its_queue;
    loop
        looked := false;
        for task, bounds in
            select t.task_id, t.bounds from actorq.tasks t
            where t.gate = its_gate and t.queue = its_queue
            order by t.priority desc, t.number limit few
        loop
            looked := true;
            if not actorq.gate_has_room(its_gate, bounds, offered, m.now) then
                if its_gate like 'pace %' and offered = 0 then
                    due := actorq.pace_next_free(its_key, bounds);
                    update actorq.paces p set alarm = due
                    where p.key = its_key and (p.alarm is null or due < p.alarm);
                end if;
                return offers;
            end if;
            offered := offered + 1;
            offers := offers + 1;
            update actorq.tasks t set place = 'ready', gate = null, offer = its_gate
            where t.task_id = task;
        end loop;
        if not looked then return offers; end if;
        few := 32;
    end loop;
end $$;

-- A task is held at a gate; offers that this made.
create or replace function actorq.gate_hold(m actorq.moment, e actorq.tasks, its_gate text)
returns integer language plpgsql as $$
declare
    offers integer;
begin
    update actorq.tasks t
    set place = case when its_gate like 'permit %' then 'limited' else 'paced' end::actorq.place,
        gate = its_gate, offer = null
    where t.task_id = e.task_id;
    offers := actorq.gate_look(m, its_gate);
    if e.offer is not null and e.offer <> its_gate then
        offers := offers + actorq.gate_look(m, e.offer);
    end if;
    return offers;
end $$;

-- Whether *e* may start.  If so it has started; else it is held, and waits.
create or replace function actorq.gate_admit(
    m actorq.moment, e actorq.tasks, out started boolean, out offers integer
) language plpgsql as $$
declare
    limited jsonb;
    its_key text;
    used bigint;
begin
    started := false;
    offers := 0;
    for limited in select l from jsonb_array_elements(e.bounds->1) l loop
        select p.running into used from actorq.permits p where p.key = limited->>0;
        if coalesce(used, 0) >= (limited->>1)::bigint then
            offers := actorq.gate_hold(m, e, 'permit ' || (limited->>0));
            return;
        end if;
    end loop;
    for limited in select l from jsonb_array_elements(e.bounds->2) l loop
        select p.last into used from actorq.paces p where p.key = limited->>0;
        if not actorq.pace_is_free(limited, coalesce(used, 0), 0, m.now) then
            offers := actorq.gate_hold(m, e, 'pace ' || (limited->>0));
            return;
        end if;
    end loop;
    started := true;
    if e.offer is not null then -- its gate is one of these: what was offered is now used
        update actorq.tasks t set offer = null where t.task_id = e.task_id;
    end if;
    insert into actorq.permits as p (key, running)
    select distinct l->>0, 1 from jsonb_array_elements(e.bounds->1) l
    on conflict (key) do update set running = p.running + 1;
    for its_key in
        select l->>0 from jsonb_array_elements(e.bounds->2) with ordinality x(l, n)
        group by 1 order by min(n)
    loop
        perform actorq.pace_start(m, its_key, e.bounds->2);
        offers := offers + actorq.gate_look(m, 'pace ' || its_key);
    end loop;
end $$;

-- One has started that brought these limits.
create or replace function actorq.pace_start(m actorq.moment, its_key text, paces jsonb)
returns void language plpgsql as $$
declare
    most bigint;
    longest double precision;
    latest actorq.paces;
begin
    select coalesce(max((l->>1)::bigint) filter (where not (l->>3)::boolean), 1),
        max((l->>2)::double precision)
    into most, longest from jsonb_array_elements(paces) l where l->>0 = its_key;
    select p.* into latest from actorq.paces p where p.key = its_key;
    if not found then
        perform actorq.paces_sweep(m.now);
    end if;
    insert into actorq.paces as p (key, last, most, longest, until)
    values (its_key, 1, greatest(1, most), longest, m.now + longest)
    on conflict (key) do update set
        last = p.last + 1, most = greatest(p.most, excluded.most),
        longest = greatest(p.longest, excluded.longest),
        until = m.now + greatest(p.longest, excluded.longest)
    returning * into latest;
    insert into actorq.starts (key, number, at) values (its_key, latest.last, m.now);
    delete from actorq.starts s where s.key = its_key and s.number <= latest.last - latest.most;
    -- those that matter no more, from the oldest on
    delete from actorq.starts s where s.key = its_key and s.number < coalesce(
        (select f.number from actorq.starts f
         where f.key = its_key and not f.at + latest.longest <= m.now
         order by f.number limit 1),
        latest.last + 1);
end $$;

-- Forget rates that nobody has had a turn of for long: a call with a longer period may come.
create or replace function actorq.paces_sweep(now double precision) returns void
language plpgsql as $$
declare
    its_key text;
begin
    for its_key in
        select key from actorq.paces where until <= now - 3600 and alarm is null
        order by until limit 4
    loop
        if exists (select 1 from actorq.tasks where gate = 'pace ' || its_key)
            or exists (select 1 from actorq.tasks where offer = 'pace ' || its_key)
        then
            update actorq.paces set until = now where key = its_key;
        else
            delete from actorq.starts where key = its_key;
            delete from actorq.paces where key = its_key;
        end if;
    end loop;
end $$;

-- A task that had started runs no more: its permits are others'.
create or replace function actorq.gate_give_back(m actorq.moment, bounds jsonb) returns void
language plpgsql as $$
declare
    its_key text;
    left_now bigint;
begin
    if bounds is null then return; end if;
    for its_key in
        select l->>0 from jsonb_array_elements(bounds->1) with ordinality x(l, n)
        group by 1 order by min(n)
    loop
        update actorq.permits p set running = p.running - 1 where p.key = its_key
        returning p.running into left_now;
        if found and left_now <= 0 then
            delete from actorq.permits p where p.key = its_key;
        end if;
        perform actorq.gate_look(m, 'permit ' || its_key);
    end loop;
end $$;

-- Give the turns that have come by time; how many tasks may be claimed again.
create or replace function actorq.gates_wake(m actorq.moment) returns integer
language plpgsql as $$
declare
    its_key text;
    offers integer := 0;
begin
    foreach its_key in array coalesce(
        (select array_agg(p.key order by p.alarm) from actorq.paces p where p.alarm <= m.now), '{}')
    loop
        perform actorq.pace_ring(its_key, null);
        offers := offers + actorq.gate_look(m, 'pace ' || its_key);
    end loop;
    return offers;
end $$;

-- When `gates_wake` has something to do; null while nobody waits for the time.
create or replace function actorq.gates_next() returns double precision
language plpgsql stable as $$
begin
    return (
        select p.alarm from actorq.paces p
        where p.alarm is not null
            and exists (select 1 from actorq.tasks t where t.gate = 'pace ' || p.key)
        order by p.alarm limit 1);
end $$;
