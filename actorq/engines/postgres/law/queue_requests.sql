-- What is asked of the queue: cancelling, purging, replaying, pausing; and what the time does.

-- Which acts are done alone, by what they say and by what is there.  Of many only the first is looked at:
-- a mistake costs time alone, as who meets what it must not do side by side with others says AQ001.
create or replace function actorq.needs_all(acts jsonb) returns boolean
language plpgsql stable as $$
declare
    act jsonb;
begin
    for i in 0 .. jsonb_array_length(acts) - 1 loop
        act := acts->i;
        case act->>0
            when 'store' then -- a key is taken; later steps are noted
                if act->1->0->>9 is not null and (
                    jsonb_typeof(act->1->0->9->0) = 'array' or act->1->0->9->3 <> '[]')
                then
                    return true;
                end if;
            when 'settle' then
                if act->2->0->>3 in ('dead', 'cancelled') or act->2->0->7 <> '[]' then
                    return true;
                end if;
            when 'claim' then
                if actorq.is_special_ready() or act->3 <> '[]' and exists (
                    select 1 from actorq.tasks t where t.place = 'parked' and t.name = any(array(
                        select jsonb_array_elements_text(act->3))))
                then
                    return true;
                end if;
            when 'open', 'move', 'sign_off', 'release', 'revoke', 'purge', 'replay', 'purge_dead',
                'pause', 'bury'
            then
                return true;
            else
                null; -- "lapse" and "promote" find out themselves whether there is anything to do
        end case;
    end loop;
    return false;
end $$;

-- ["revoke", task_id]: true, false, or null: it runs
create or replace function actorq.act_revoke(
    m actorq.moment, act jsonb, given bytea, inout taken bytea[], out answer jsonb
) language plpgsql as $$
declare
    e actorq.tasks;
begin
    select t.* into e from actorq.tasks t where t.task_id = act->>1;
    if not found then -- a later step: its chain ends where it is
        select t.* into e from actorq.steps s join actorq.tasks t on t.task_id = s.after
        where s.task_id = act->>1;
        if not found then
            answer := to_jsonb(coalesce(actorq.ending_of(act->>1) = 'cancelled', false));
            return; -- asked again, perhaps
        end if;
        update actorq.tasks t set severed = true where t.task_id = e.task_id;
        e.severed := true;
    end if;
    if e.place = 'leased' then
        perform actorq.ask_to_cancel(m, e);
        answer := 'null';
    else
        perform actorq.call_off(
            m, e, jsonb_build_array('waiting', jsonb_build_array(e.failures)));
        answer := 'true';
    end if;
end $$;

-- ["purge", queue, limit]: how many of at most *limit*, and whether there may be more
create or replace function actorq.act_purge(
    m actorq.moment, act jsonb, given bytea, inout taken bytea[], out answer jsonb
) language plpgsql as $$
declare
    e actorq.tasks;
    gone integer := 0;
begin
    for e in
        select t.* from actorq.tasks t where t.task_id = any(array(
            select w.task_id from actorq.waiting_in(act->>1, (act->>2)::integer) w))
        order by t.id
    loop
        perform actorq.call_off(
            m, e, jsonb_build_array('purged', jsonb_build_array(act->>1)));
        gone := gone + 1;
    end loop;
    answer := jsonb_build_array(gone, gone >= (act->>2)::integer);
end $$;

-- Some of those that wait in a queue: ready ones by their index, and of the others who is found.
create or replace function actorq.waiting_in(its_queue text, most integer)
returns table (task_id text) language plpgsql stable as $$
declare
    n integer;
begin
    return query
        select t.task_id from actorq.tasks t where t.place = 'ready' and t.queue = its_queue
        order by t.priority desc, t.number limit most;
    get diagnostics n = row_count;
    if n < most then
        return query
            select t.task_id from actorq.tasks t
            where t.queue = its_queue and t.place in ('scheduled', 'parked', 'limited', 'paced')
            limit most - n;
    end if;
end $$;

-- ["replay", [[task_id, sent]...], same]
create or replace function actorq.act_replay(
    m actorq.moment, act jsonb, given bytea, inout taken bytea[], out answer jsonb
) language plpgsql as $$
declare
    there text[];
    sents jsonb;
    stand_ins jsonb;  -- ids, if not each stands for itself
    r record;
begin
    there := array(
        select d.task_id from actorq.dead d
        where d.task_id = any(array(select p->>0 from jsonb_array_elements(act->1) p)));
    select coalesce(jsonb_agg(p->1 order by n), '[]') into sents
    from jsonb_array_elements(act->1) with ordinality x(p, n) where p->>0 = any(there);
    if sents <> '[]' then
        r := actorq.accept(m, sents, (act->>2)::boolean, given, taken);
        taken := r.taken;
        if r.answer ? 'compare' or r.answer ? 'refused' then
            answer := r.answer;
            return;
        end if;
        stand_ins := r.answer->'ids';
        perform actorq.forget_dead(m, there);
    end if;
    select jsonb_build_object('ids', coalesce(jsonb_agg(
        case when not x.is_there then null
            when stand_ins is not null then stand_ins->(x.place::integer) else x.p->1->0 end
        order by x.n), '[]'))
    into answer
    from (
        select y.*, count(*) filter (where is_there) over (order by n) - 1 as place
        from (
            select p, n, p->>0 = any(there) as is_there
            from jsonb_array_elements(act->1) with ordinality z(p, n)
        ) y
    ) x;
end $$;

-- ["purge_dead", [task_id...]|null]: how many
create or replace function actorq.act_purge_dead(
    m actorq.moment, act jsonb, given bytea, inout taken bytea[], out answer jsonb
) language plpgsql as $$
begin
    answer := to_jsonb(actorq.forget_dead(m, case
        when jsonb_typeof(act->1) = 'array' then array(select jsonb_array_elements_text(act->1))
        else array(select task_id from actorq.dead) end));
end $$;

-- ["pause", queue, boolean]
create or replace function actorq.act_pause(
    m actorq.moment, act jsonb, given bytea, inout taken bytea[], out answer jsonb
) language plpgsql as $$
begin
    if (act->>2)::boolean then
        insert into actorq.paused (queue) values (act->>1) on conflict do nothing;
    else
        delete from actorq.paused where queue = act->>1;
    end if;
    perform actorq.push('tasks', m.peer);
    answer := 'null';
end $$;

-- ["promote"]: begin what is due, end what has expired, give turns; whether there may be more
create or replace function actorq.act_promote(
    m actorq.moment, act jsonb, given bytea, inout taken bytea[], out answer jsonb
) language plpgsql as $$
declare
    e actorq.tasks;
    expired integer := 0;
    due integer;
begin
    if not m.alone then
        if coalesce(actorq.next_due() > m.now, true) then
            answer := 'false';
            return;
        end if;
        raise sqlstate 'AQ001' using message = 'something is due';
    end if;
    for e in
        select t.* from actorq.tasks t
        where t.expires is not null and t.place <> 'leased' and t.expires <= m.now
        order by t.expires, t.id limit 500
    loop
        perform actorq.expire(m, e);
        expired := expired + 1;
    end loop;
    with begun as (
        select x.task_id, nextval('actorq.ages') as age from (
            select t.task_id from actorq.tasks t where t.place = 'scheduled' and t.due <= m.now
            order by t.due, t.number limit 500
        ) x
    )
    update actorq.tasks t set place = 'ready', due = null, number = b.age
    from begun b where t.task_id = b.task_id;
    get diagnostics due = row_count;
    if due > 0 then
        perform actorq.push('tasks', m.peer);
    end if;
    perform actorq.gates_wake(m);
    answer := to_jsonb(expired = 500 or due = 500);
end $$;

-- ["published", [number...]]: these ends are stored
create or replace function actorq.act_published(
    m actorq.moment, act jsonb, given bytea, inout taken bytea[], out answer jsonb
) language plpgsql as $$
begin
    delete from actorq.outbox o
    where o.number = any(array(select jsonb_array_elements_text(act->1)::bigint));
    answer := 'null';
end $$;

-- These are used.  Others are forgotten when that was long ago, or there are too many; one in which
-- something is, is seen by that.  In order: two who say the same do not wait for one another in a circle.
create or replace function actorq.name_queues(m actorq.moment, names text[]) returns void
language plpgsql as $$
begin
    insert into actorq.queues as q (queue, used) select n, m.now from unnest(names) n order by n
        on conflict (queue) do update set used = m.now where q.used < m.now - 60;
    if found then
        delete from actorq.queues where queue = any(array(
            select o.queue from actorq.queues o
            where o.used < m.now - 2592000 or o.queue = any(array(
                select k.queue from actorq.queues k order by k.used desc, k.queue desc offset 1000))
            for update skip locked));
    end if;
end $$;

-- ["name", [queue...]]
create or replace function actorq.act_name(m actorq.moment, act jsonb) returns jsonb
language plpgsql as $$
begin
    perform actorq.name_queues(m, array(select jsonb_array_elements_text(act -> 1)));
    return 'null';
end $$;
