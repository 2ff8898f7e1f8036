-- Accepting: enqueued messages become tasks, all of a batch or none of it.
--
-- sent: [task_id, blob, said, name, queue, priority, eta, expires, deliveries, bounds, alias]

-- Whoever takes a key, or is followed by others, is accepted alone.
create or replace function actorq.bounds_for(alone boolean, bounds jsonb) returns jsonb
language plpgsql immutable as $$
begin
    if not alone and (jsonb_typeof(bounds->0) = 'array' or bounds->3 <> '[]') then
        raise sqlstate 'AQ001' using message = 'a key is to be taken, or a chain begins';
    end if;
    return bounds;
end $$;

-- Those of some consecutive stores: they are ready, in this order, or scheduled.  Their ids.  If one is live
-- already, or is there twice, that violates the key: cheaper than asking for each.
create or replace function actorq.insert_tasks(
    m actorq.moment, acts jsonb, first integer, last integer, given bytea,
    out ids text[]
) language plpgsql as $$
begin
    with inserted as (
        insert into actorq.tasks (
            task_id, body, said, name, queue, priority, place, due, expires, deliveries, bounds,
            alias, id, number)
        select
            s->>0, actorq.cut(given, (s->>1)::bigint), s->>2, s->>3, s->>4, (s->>5)::bigint,
            case when eta > m.now then 'scheduled' else 'ready' end::actorq.place,
            case when eta > m.now then eta end, (s->>7)::double precision, (s->>8)::bigint,
            case when s->>9 is not null then actorq.bounds_for(m.alone, s->9) end,
            s->>10, age, age
        from (
            select s, (s->>6)::double precision as eta, nextval('actorq.ages') as age
            from generate_series(first, last) a, jsonb_array_elements(acts->a->1) s offset 0
        ) aged
        returning task_id
    )
    select array_agg(i.task_id) into ids from inserted i;
    perform actorq.push('tasks', m.peer);
end $$;

-- Which of these were accepted once, and are not live any more; or are steps that never will be.
create or replace function actorq.any_known(ids text[]) returns boolean
language plpgsql stable as $$
begin
    return (
        select exists (select 1 from actorq.ended where task_id = any(ids))
            or exists (select 1 from actorq.dead where task_id = any(ids))
            or exists (select 1 from actorq.steps where task_id = any(ids) and coalesce(ending, '') <> ''));
end $$;

-- Stores that follow one another: the answers, as JSON.  Side by side with others only if all are new and
-- there is nothing to find out: first stored, which shows who is live; then, as others may have ended
-- meanwhile, looked for among what has ended.
create or replace function actorq.store_all(
    m actorq.moment, acts jsonb, first integer, last integer, given bytea,
    inout taken bytea[], out answers text
) language plpgsql as $$
declare
    ids text[];
    r record;
begin
    if not m.alone then
        ids := actorq.insert_tasks(m, acts, first, last, given);
        if ids is not null and actorq.any_known(ids) then
            raise sqlstate 'AQ001' using message = 'some are known';
        end if;
        answers := 'null' || repeat(', null', last - first);
        return;
    end if;
    for i in first .. last loop
        r := actorq.accept(m, acts->i->1, (acts->i->>2)::boolean, given, taken);
        taken := r.taken;
        answers := concat_ws(', ', answers, r.answer::text);
    end loop;
end $$;

-- Where ids are known from: live, ended, dead.
create or replace function actorq.known_from(ids text[]) returns jsonb
language plpgsql stable as $$
begin
    return (
        select coalesce(jsonb_object_agg(task_id, place), '{}') from (
            select task_id, 'ended' as place from actorq.ended where task_id = any(ids)
            union all
            select task_id, 'dead' from actorq.dead where task_id = any(ids)
            union all
            select task_id, 'live' from actorq.tasks where task_id = any(ids)
        ) known);
end $$;

create or replace function actorq.key_holder(its_key text, now double precision) returns text
language plpgsql stable as $$
begin
    return (
        select task_id from actorq.keys where key = its_key and (until is null or until > now));
end $$;

-- Whether such a call may have taken the arguments of a later one.
create or replace function actorq.may_change(bounds jsonb) returns boolean
language sql immutable as $$
    select coalesce(bounds->0->>1 = 'debounce', false)
$$;

-- Accept all, or none, alone: as "store" answers.  What grows with the batch is looked at as a whole: a
-- list that grows one by one is copied each time, and of ten thousand calls that is too much.
create or replace function actorq.accept(
    m actorq.moment, sents jsonb, same boolean, given bytea, inout taken bytea[],
    out answer jsonb
) language plpgsql as $$
declare
    ids text[] := array(select s->>0 from jsonb_array_elements(sents) s);
    known jsonb := actorq.known_from(ids);
    differing jsonb;
    bodies bytea[];
    fresh jsonb;
    conflicts jsonb;
    stand_ins jsonb;
begin
    if known <> '{}' and not coalesce(same, false) then
        select
            jsonb_agg(jsonb_build_array(
                f.task_id, case when f.body is not null then cardinality(taken) + f.place - 1 end,
                f.said, f.alias, f.name) order by f.n),
            array_agg(f.body order by f.n) filter (where f.body is not null)
        into differing, bodies
        from (
            select x.n, t.task_id, t.body, t.said, t.alias, t.name,
                count(*) filter (where t.body is not null) over (order by x.n) as place
            from jsonb_array_elements(sents) with ordinality x(v, n)
            join actorq.tasks t on t.task_id = x.v->>0
            where not actorq.may_change(t.bounds) and (
                t.body is distinct from actorq.cut(given, (x.v->>1)::bigint)
                or t.said is distinct from x.v->>2)
        ) f;
        if differing is not null then
            taken := taken || coalesce(bodies, '{}');
            answer := jsonb_build_object('compare', differing);
            return;
        end if;
    end if;
    -- each id once, if it is not known
    select coalesce(jsonb_agg(f.v order by f.n), '[]') into fresh from (
        select distinct on (x.v->>0) x.v, x.n
        from jsonb_array_elements(sents) with ordinality x(v, n)
        where not known ? (x.v->>0) order by x.v->>0, x.n
    ) f;
    answer := 'null';
    if not jsonb_path_exists(sents, '$[*][9][0] ? (@ != null)') then
        perform actorq.take_in(m, fresh, given);
        return;
    end if;
    conflicts := actorq.key_conflicts(fresh, m.now);
    -- refused before anything of it is stored
    select jsonb_build_object('refused', jsonb_build_array(c->1, c->2)) into answer
    from jsonb_array_elements(conflicts) with ordinality x(c, n)
    where c->>3 = 'reject' and not exists (select 1 from actorq.steps where task_id = c->>0)
    order by n limit 1;
    if found then return; end if;
    if exists (select 1 from jsonb_array_elements(conflicts) c where c->>3 <> 'return') then
        stand_ins := actorq.accept_in_turn(m, fresh, given);
    else
        select coalesce(jsonb_object_agg(c->>0, c->1), '{}') into stand_ins
        from jsonb_array_elements(conflicts) c;
        select coalesce(jsonb_agg(x.v order by x.n), '[]') into fresh
        from jsonb_array_elements(fresh) with ordinality x(v, n) where not stand_ins ? (x.v->>0);
        perform actorq.keys_take(fresh, m.now);
        perform actorq.take_in(m, fresh, given);
    end if;
    answer := 'null';
    if stand_ins <> '{}' then
        select jsonb_build_object('ids', jsonb_agg(coalesce(stand_ins->(i.id), to_jsonb(i.id)) order by i.n))
        into answer from unnest(ids) with ordinality i(id, n);
    end if;
end $$;

-- Of calls that are new, those whose key is taken, by another or by one before them: [id, who has it, key,
-- on_conflict]...
create or replace function actorq.key_conflicts(fresh jsonb, now double precision) returns jsonb
language plpgsql stable as $$
begin
    return (
        select coalesce(jsonb_agg(
            jsonb_build_array(c.id, coalesce(c.holder, c.first), c.key, c.how) order by c.n), '[]')
        from (
            select x.n, x.v->>0 as id, x.v->9->0->>0 as key, x.v->9->0->>1 as how, k.task_id as holder,
                first_value(x.v->>0) over its as first, row_number() over its as place
            from jsonb_array_elements(fresh) with ordinality x(v, n)
            left join actorq.keys k
                on k.key = x.v->9->0->>0 and (k.until is null or k.until > now)
            where jsonb_typeof(x.v->9->0) = 'array'
            window its as (partition by x.v->9->0->>0 order by x.n)
        ) c where c.holder is not null or c.place > 1);
end $$;

-- One after the other, where one may take another's place: who stands for whom.
create or replace function actorq.accept_in_turn(m actorq.moment, fresh jsonb, given bytea)
returns jsonb language plpgsql as $$
declare
    s jsonb;
    holder text;
    theirs text[] := '{}';
    holders text[] := '{}';
begin
    for s in select v from jsonb_array_elements(fresh) v loop
        if jsonb_typeof(s->9->0) = 'array' then
            holder := actorq.key_resolve(m, s, given);
            if holder is not null then
                theirs[cardinality(theirs) + 1] := s->>0;
                holders[cardinality(holders) + 1] := holder;
                continue;
            end if;
        end if;
        perform actorq.take_in(m, jsonb_build_array(s), given);
    end loop;
    return (
        select coalesce(jsonb_object_agg(x.id, x.holder), '{}') from unnest(theirs, holders) x(id, holder));
end $$;

-- These are new: in they go, and what comes after them waits for them.
create or replace function actorq.take_in(m actorq.moment, sents jsonb, given bytea)
returns void language plpgsql as $$
declare
    s jsonb;
    step text;
begin
    if sents = '[]' then return; end if;
    perform actorq.insert_tasks(
        m, jsonb_build_array(jsonb_build_array('store', sents)), 0, 0, given);
    -- a dead letter was replayed
    delete from actorq.steps
    where task_id = any(array(select v->>0 from jsonb_array_elements(sents) v))
        and coalesce(ending, '') <> '';
    for s in select v from jsonb_array_elements(sents) v where v->9->3 <> '[]' loop
        foreach step in array actorq.chain_of(s->9) loop
            insert into actorq.steps (task_id, after) values (step, s->>0)
            on conflict (task_id) do update
            set after = excluded.after, ending = null, seq = default;
        end loop;
    end loop;
end $$;

create or replace function actorq.key_take(u jsonb, task text, now double precision) returns void
language plpgsql as $$
begin
    perform actorq.keys_take(jsonb_build_array(
        jsonb_build_array(task, null, null, null, null, null, null, null, null, jsonb_build_array(u))), now);
end $$;

-- The keys of these calls, each another one, are theirs.
create or replace function actorq.keys_take(fresh jsonb, now double precision) returns void
language plpgsql as $$
declare
    timed integer;
begin
    select count(*) into timed from jsonb_array_elements(fresh) v where v->9->0->>3 is not null;
    if timed > 0 then -- some of those whose time is over, more than come
        delete from actorq.keys where key = any(array(
            select key from actorq.keys where until <= now order by until limit 4 * timed));
    end if;
    insert into actorq.keys (key, task_id, until)
    select v->9->0->>0, v->>0, now + (v->9->0->>3)::double precision
    from jsonb_array_elements(fresh) v where jsonb_typeof(v->9->0) = 'array'
    on conflict (key) do update set task_id = excluded.task_id, until = excluded.until;
end $$;

-- Take the message's key for it; the id of another task that stands for it, if one does.
create or replace function actorq.key_resolve(m actorq.moment, s jsonb, given bytea)
returns text language plpgsql as $$
declare
    u jsonb := s->9->0;
    holder text := actorq.key_holder(u->>0, m.now);
    e actorq.tasks;
    is_live boolean;
    alias text;
begin
    if holder is null then
        perform actorq.key_take(u, s->>0, m.now);
        return null;
    end if;
    select t.* into e from actorq.tasks t where t.task_id = holder;
    is_live := found;
    if u->>1 = 'replace' then
        -- a later call with the same key takes this one's place
        if is_live and e.place = 'leased' then
            perform actorq.ask_to_cancel(m, e);
        elsif is_live then
            perform actorq.call_off(
                m, e, jsonb_build_array('replaced', jsonb_build_array(s->>0)));
        end if;
        perform actorq.key_take(u, s->>0, m.now);
        return null;
    end if;
    if u->>1 = 'debounce' and is_live then
        if e.place = 'leased' then -- taken by a call that was not debounced itself
            perform actorq.key_take(u, s->>0, m.now);
            return null;
        end if;
        perform actorq.take_out(m, e);
        perform actorq.break_off(m, e, 'cancelled', null, null, actorq.chain_of(s->9));
        alias := coalesce(s->>10, s->>0);
        s := jsonb_set(jsonb_set(s, '{0}', to_jsonb(holder)), '{10}',
            case when alias = holder then 'null'::jsonb else to_jsonb(alias) end);
        perform actorq.take_in(m, jsonb_build_array(s), given);
    end if;
    return holder;
end $$;

-- What comes after a task that has succeeded, or was enqueued in a user's transaction: nobody can be
-- refused any more.
create or replace function actorq.admit(m actorq.moment, sents jsonb, given bytea)
returns void language plpgsql as $$
declare
    s jsonb;
    r record;
    e actorq.tasks;
    refused jsonb;
begin
    for s in select v from jsonb_array_elements(sents) v loop
        r := actorq.accept(m, jsonb_build_array(s), true, given, '{}');
        continue when not r.answer ? 'refused'
            or exists (select 1 from actorq.tasks where task_id = s->>0);
        perform actorq.take_in(m, jsonb_build_array(s), given);
        select t.* into e from actorq.tasks t where t.task_id = s->>0;
        refused := jsonb_build_array('refused', r.answer->'refused');
        perform actorq.report(m, e, refused);
        perform actorq.bury(m, e, '', null, refused);
    end loop;
end $$;
