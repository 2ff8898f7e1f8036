-- Claiming: ready tasks are leased to a session, queue by queue as it has chosen.
--
-- Of each queue the highest priority first, then the oldest; those that limits hold back are passed over.

-- Lease at most *most* of a queue that are ready: side by side with others, who pass over what we take.
-- *claimed*: JSON, without brackets.  *special*: something is to be found out of one before it may start,
-- and was not; then all is undone.  *heavy*: there would be more, but those of 16 MB are as many as one
-- call carries in its time.
create or replace function actorq.lease_heads(
    m actorq.moment, its_session bigint, its_queue text, most integer, base integer,
    out n integer, out claimed text, out bodies bytea[], out special boolean, out heavy boolean
) language plpgsql as $$
declare
    left_there text[];
begin
    with leased as (
        update actorq.tasks t
        set place = 'leased', attempt = t.attempt + 1, session = its_session,
            token = nextval('actorq.tokens'), since = m.now
        where t.ctid = any(array( -- locked there: nobody moves them before they are updated
            select h.ctid from actorq.tasks h
            where h.place = 'ready' and h.queue = its_queue
            order by h.priority desc, h.number limit most for update skip locked))
        returning t.task_id, t.attempt, t.token, t.failures, t.alias, t.said, t.body, t.priority,
            t.number, t.bounds is not null or t.expires is not null as special
    )
    select
        count(*) filter (where x.light), string_agg(json_build_array(
            x.task_id, x.attempt, x.token, x.failures, x.alias,
            case when x.body is not null then base + x.place end, x.said)::text, ', ')
            filter (where x.light),
        array_agg(x.body) filter (where x.light), coalesce(bool_or(x.special), false),
        array_agg(x.task_id) filter (where not x.light)
    into n, claimed, bodies, special, left_there
    from (
        select l.*, row_number() over ordered - 1 as place,
            sum(octet_length(l.body)) over ordered - octet_length(l.body) < 16777216
                or l.body is null as light
        from leased l window ordered as (order by l.priority desc, l.number)
    ) x;
    heavy := left_there is not null;
    if heavy then
        update actorq.tasks t
        set place = 'ready', attempt = t.attempt - 1, session = null, token = null, since = null
        where t.task_id = any(left_there);
    end if;
end $$;

-- Lease these, in this order: nobody else is about.
create or replace function actorq.lease_these(
    m actorq.moment, its_session bigint, ids text[], base integer,
    out claimed text, out bodies bytea[]
) language plpgsql as $$
begin
    with leased as (
        update actorq.tasks t
        set place = 'leased', attempt = t.attempt + 1, session = its_session,
            token = nextval('actorq.tokens'), since = m.now
        where t.task_id = any(ids)
        returning t.task_id, t.attempt, t.token, t.failures, t.alias, t.said, t.body
    )
    select
        string_agg(json_build_array(
            x.task_id, x.attempt, x.token, x.failures, x.alias,
            case when x.body is not null then base + x.place end, x.said)::text, ', '),
        array_agg(x.body)
    into claimed, bodies
    from (
        select l.*, row_number() over (order by array_position(ids, l.task_id)) - 1 as place
        from leased l
    ) x;
end $$;

-- The queues that have work to give: one look-up each, however many tasks there are.  From the youngest end
-- of each: at the other, of what was claimed since the last vacuum, the index has kept places.
create or replace function actorq.busy_queues(names text[]) returns text[]
language plpgsql stable as $$
begin
    return (
        with recursive busy as (
            (select queue from actorq.tasks where place = 'ready'
             order by queue desc, priority, number desc limit 1)
            union all
            select (select t.queue from actorq.tasks t
                    where t.place = 'ready' and t.queue < busy.queue
                    order by t.queue desc, t.priority, t.number desc limit 1)
            from busy where busy.queue is not null
        )
        select coalesce(array_agg(queue order by queue), '{}') from busy
        where queue is not null and (names is null or queue = any(names))
            and queue not in (select p.queue from actorq.paused p));
end $$;

-- Whether anything must be found out before the next may start.
create or replace function actorq.is_special_ready() returns boolean
language plpgsql stable as $$
begin
    return (
        select exists (
            select 1 from actorq.tasks
            where place = 'ready' and (bounds is not null or expires is not null)));
end $$;

-- Stride scheduling, of one turn: the queue that has it, by the passes of all.  weights: null: alike.
create or replace function actorq.turn(
    s actorq.sessions, busy text[], out its_queue text, inout passes jsonb,
    inout passed double precision
) language plpgsql immutable as $$
declare
    one text;
    its double precision;
    best double precision;
    weight double precision := 1;
begin
    foreach one in array busy loop
        its := greatest(coalesce((passes->>one)::double precision, 0), passed);
        if best is null or its < best then
            best := its;
            its_queue := one;
        end if;
    end loop;
    if s.weights is not null then
        weight := s.weights[array_position(s.names, its_queue)];
    end if;
    passed := best;
    passes := passes || jsonb_build_object(its_queue, best + 1 / weight);
end $$;

-- ["claim", session, limit, names]: the answer, and what is kept of it for being asked again, as JSON
create or replace function actorq.act_claim(
    m actorq.moment, act jsonb, inout taken bytea[], out answer text, out note text
) language plpgsql as $$
declare
    s actorq.sessions;
    most integer := (act->>2)::integer;
    its_name text;
    busy text[];
    before bigint;
    more boolean := false;
    r record;
begin
    answer := '{"claimed": [], "more": false}';
    note := answer;
    select x.* into s from actorq.sessions x where x.id = (act->>1)::bigint;
    if not found then return; end if;
    if act->3 <> '[]' then
        for its_name in select jsonb_array_elements_text(act->3) loop
            if not m.alone and exists (
                select 1 from actorq.tasks t where t.place = 'parked' and t.name = its_name)
            then
                raise sqlstate 'AQ001' using message = 'some are parked';
            end if;
            if m.alone then
                perform actorq.release(m, its_name, s.names);
            end if;
        end loop;
    end if;
    busy := actorq.busy_queues(s.names);
    if busy = '{}' then return; end if;
    before := nextval('actorq.tokens');
    if m.alone and actorq.is_special_ready() then
        r := actorq.claim_alone(m, s, busy, most, taken);
    else
        r := actorq.claim_plain(m, s, busy, most, taken);
    end if;
    more := r.more;
    if r.claimed is null and not more then return; end if;
    taken := r.taken;
    s := r.its_session;
    if r.claimed is not null then
        update actorq.sessions x
        set until = m.now + m.lease, beat = m.now, passes = s.passes, passed = s.passed
        where x.id = s.id;
    end if;
    answer := concat(
        '{"claimed": [', r.claimed, '], "more": ', case when more then 'true' else 'false' end, '}');
    -- a session's claims come one after the other: what it got in between is this claim's
    note := json_build_object(
        'session', s.id, 'after', before, 'before', nextval('actorq.tokens'), 'more', more);
end $$;

-- Where nothing is to be found out.
create or replace function actorq.claim_plain(
    m actorq.moment, s actorq.sessions, busy text[], most integer, inout taken bytea[],
    out claimed text, out more boolean, out its_session actorq.sessions
) language plpgsql as $$
declare
    its_queue text;
    quotas jsonb := '{}';
    counts jsonb;
    few integer;
    left_over text[];
    r record;
begin
    more := false;
    if s.names is not null and s.weights is null then
        busy := array(select n from unnest(s.names) n where n = any(busy));
    end if;
    if cardinality(busy) = 1 or (s.names is not null and s.weights is null) then
        foreach its_queue in array busy loop
            exit when most <= 0;
            r := actorq.lease_heads(m, s.id, its_queue, most, cardinality(taken));
            continue when r.n = 0;
            if r.special and not m.alone then
                raise sqlstate 'AQ001' using message = 'something is to be found out first';
            end if;
            claimed := concat_ws(', ', claimed, r.claimed);
            taken := case when taken = '{}' then r.bodies else taken || r.bodies end;
            most := most - r.n;
            more := r.heavy;
            exit when more;
        end loop;
        its_session := s;
        return;
    end if;
    -- how many each has, as far as that matters; then whose turn it is how often
    select jsonb_object_agg(q, (
        select count(*) from (
            select 1 from actorq.tasks t where t.place = 'ready' and t.queue = q limit most) heads))
    into counts from unnest(busy) q;
    left_over := busy;
    for i in 1 .. most loop
        exit when left_over = '{}';
        r := actorq.turn(s, left_over, s.passes, s.passed);
        s.passes := r.passes;
        s.passed := r.passed;
        its_queue := r.its_queue;
        few := coalesce((quotas->>its_queue)::integer, 0) + 1;
        quotas := quotas || jsonb_build_object(its_queue, few);
        if few >= (counts->>its_queue)::integer then
            left_over := array_remove(left_over, its_queue);
        end if;
    end loop;
    foreach its_queue in array busy loop
        continue when not quotas ? its_queue;
        r := actorq.lease_heads(m, s.id, its_queue, (quotas->>its_queue)::integer, cardinality(taken));
        continue when r.n = 0;
        if r.special and not m.alone then
            raise sqlstate 'AQ001' using message = 'something is to be found out first';
        end if;
        claimed := concat_ws(', ', claimed, r.claimed);
        taken := case when taken = '{}' then r.bodies else taken || r.bodies end;
        more := r.heavy;
        exit when more;
    end loop;
    -- queues that are not ahead of the others need no pass
    select coalesce(jsonb_object_agg(p.key, p.value), '{}') into s.passes
    from jsonb_each(s.passes) p where p.value::double precision > s.passed;
    its_session := s;
end $$;

-- One by one, where limits, rates or times to start are to be looked at.
create or replace function actorq.claim_alone(
    m actorq.moment, s actorq.sessions, busy text[], most integer, inout taken bytea[],
    out claimed text, out more boolean, out its_session actorq.sessions
) language plpgsql as $$
declare
    in_order boolean := s.names is not null and s.weights is null;
    its_queue text;
    found_ones text[] := '{}';   -- and not leased yet
    n_found integer := 0;
    held_back integer := 0;
    head record;
    e actorq.tasks;
    few integer;
    before_passes jsonb;
    before_passed double precision;
    looks boolean;               -- again: some are back that may come before
    took integer;
    weight bigint := 0;          -- bytes of those that were found
    r record;
begin
    more := false;
    <<turns>>
    while busy <> '{}' and n_found < most and held_back < 1000 loop
        if in_order then
            select n into its_queue from unnest(s.names) with ordinality x(n, i)
            where n = any(busy) order by i limit 1;
            exit when its_queue is null;
        else
            before_passes := s.passes;
            before_passed := s.passed;
            r := actorq.turn(s, busy, s.passes, s.passed);
            s.passes := r.passes;
            s.passed := r.passed;
            its_queue := r.its_queue;
        end if;
        few := case when in_order or cardinality(busy) = 1 then most - n_found else 1 end;
        looks := false;
        took := 0;
        <<heads>>
        loop
            if found_ones <> '{}' then -- or they are read again
                r := actorq.lease_these(m, s.id, found_ones, cardinality(taken));
                claimed := concat_ws(', ', claimed, r.claimed);
                taken := case when taken = '{}' then r.bodies else taken || r.bodies end;
                found_ones := '{}';
            end if;
            exit heads when took >= few or held_back >= 1000;
            for head in
                select t.task_id, t.bounds is not null or t.expires is not null as special,
                    coalesce(octet_length(t.body), 0) as size
                from actorq.tasks t where t.place = 'ready' and t.queue = its_queue
                order by t.priority desc, t.number limit few - took
            loop
                if head.special then
                    select t.* into e from actorq.tasks t where t.task_id = head.task_id;
                    r := actorq.may_start(m, e);
                    looks := r.offers > 0;
                    if not r.started then
                        held_back := held_back + 1;
                        exit turns when held_back >= 1000;
                        exit when looks;
                        continue;
                    end if;
                end if;
                found_ones := found_ones || head.task_id;
                n_found := n_found + 1;
                took := took + 1;
                weight := weight + head.size;
                exit turns when weight >= 16777216;
                exit when looks;
            end loop;
            exit heads when not found or looks;
        end loop;
        if looks then
            if found_ones <> '{}' then
                r := actorq.lease_these(m, s.id, found_ones, cardinality(taken));
                claimed := concat_ws(', ', claimed, r.claimed);
                taken := case when taken = '{}' then r.bodies else taken || r.bodies end;
                found_ones := '{}';
            end if;
            busy := actorq.busy_queues(s.names);
        elsif took = 0 then
            if not in_order then -- its turn is still to come
                s.passes := before_passes;
                s.passed := before_passed;
            end if;
            busy := array_remove(busy, its_queue);
        elsif took < few then
            busy := array_remove(busy, its_queue);
        end if;
    end loop;
    if found_ones <> '{}' then
        r := actorq.lease_these(m, s.id, found_ones, cardinality(taken));
        claimed := concat_ws(', ', claimed, r.claimed);
        taken := case when taken = '{}' then r.bodies else taken || r.bodies end;
    end if;
    more := held_back >= 1000 or weight >= 16777216;
    select coalesce(jsonb_object_agg(p.key, p.value), '{}') into s.passes
    from jsonb_each(s.passes) p where p.value::double precision > s.passed;
    its_session := s;
end $$;

-- Whether *e* may start; if not, it is held, or its time to start went by.
create or replace function actorq.may_start(
    m actorq.moment, e actorq.tasks, out started boolean, out offers integer
) language plpgsql as $$
declare
    r record;
begin
    started := false;
    offers := 0;
    if e.expires <= m.now then
        -- an offer that it had is somebody else's: some may be back
        offers := case when e.offer is not null then 1 else 0 end;
        perform actorq.expire(m, e);
        return;
    end if;
    started := true;
    if e.bounds is null then return; end if;
    r := actorq.gate_admit(m, e);
    started := r.started;
    offers := r.offers;
    if started and e.bounds->0->>2 = 'start' then
        delete from actorq.keys
        where key = e.bounds->0->>0 and task_id = e.task_id and until is null;
    end if;
end $$;

-- A "claim" that is asked again: what is still leased of what it got, with the bodies.
create or replace function actorq.claim_again(
    m actorq.moment, note jsonb, inout taken bytea[], out again jsonb
) language plpgsql as $$
declare
    claimed jsonb;
    bodies bytea[];
begin
    select
        jsonb_agg(jsonb_build_array(
            f.task_id, f.attempt, f.token, f.failures, f.alias,
            case when f.body is not null then cardinality(taken) + f.n - 1 end, f.said)
            order by f.n),
        array_agg(f.body order by f.n)
    into claimed, bodies
    from (
        select t.*, row_number() over (order by t.priority desc, t.number) as n
        from actorq.tasks t
        where t.place = 'leased' and t.session = (note->>'session')::bigint
            and t.token > (note->>'after')::bigint and t.token < (note->>'before')::bigint
    ) f;
    taken := taken || coalesce(bodies, '{}');
    again := jsonb_build_object('claimed', coalesce(claimed, '[]'), 'more', note->'more');
end $$;
